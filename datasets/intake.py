# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a folder, label file or archive to a labelled set that was looked at from all sides; nothing is kept.

An archive is unpacked into a staging folder beside the dataset; every picture is decoded in a child process
and has the size its labels were drawn on. From here it goes into the home in one act (datasets/adding.py).
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datasets.archive import SUFFIXES as ARCHIVE_SUFFIXES
from datasets.formats import bare
from datasets.formats.detect import detect, label_file_of
from datasets.formats.place import Place
from datasets.formats.table import format_named
from datasets.hostile import PictureCheck, PictureFacts, unpack
from datasets.labels import GOOD_CLASSES, LabelledSet, Picture
from inspection.types import StationFault

_STAGING = ".gatesight-import-"
_LOCK = ".lock"
SOUNDS_GOOD = frozenset(
    {
        "ok",
        "okay",
        "pass",
        "passed",
        "normal",
        "good",
        "free",
        "io",
        "i.o.",
        "gut",
        "none",
        "0",
        "clean",
        "perfect",
    }
    | {"no_defect", "nodefect", "no defect", "defect_free", "defect-free", "accept", "accepted", "negative"}
)
"""Whole-picture classes that may well mean good, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What a source holds, ready to be added."""

    labelled: LabelledSet
    format: str
    notes: tuple[str, ...]  # sentences for people; nothing that stops the import


@contextmanager
def opened(
    source: Path,
    *,
    beside: Path,
    format_name: str | None = None,
    good: Collection[str] = (),
    lot: str | None = None,
    unlabelled: bool = False,
) -> Iterator[Intake]:
    """Read a source whole; its pictures can be read until the `with` ends.

    beside: staging for archives goes into this folder's parent. good: whole-picture classes that mean good
    (`none`: no other than good and free do). lot: for pictures that name none. unlabelled: the pictures alone.
    Raises StationFault naming file and line or field; an archive's members are named within it.
    """
    asked = _Asked(format_name=format_name, good=tuple(good), lot=lot, unlabelled=unlabelled)
    if not is_archive(source):
        yield _read(source, asked)
        return
    with _staging(beside) as folder:
        try:
            unpack(source, folder)
            intake = _read(folder, asked)
        except StationFault as fault:
            raise StationFault(
                str(fault).replace(f"{folder}{os.sep}", f"{source}: ").replace(str(folder), str(source))
            ) from None
        yield dataclasses.replace(intake, labelled=dataclasses.replace(intake.labelled, source=source))


def is_archive(source: Path) -> bool:
    """By name, or by what is in it."""
    if not source.is_file():
        return False
    if source.name.lower().endswith(ARCHIVE_SUFFIXES):
        return True
    return source.suffix.lower() not in {".json", ".csv", ".xml", ".yaml", ".yml"} and (
        zipfile.is_zipfile(source) or tarfile.is_tarfile(source)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the person said about a source."""

    format_name: str | None
    good: tuple[str, ...]
    lot: str | None
    unlabelled: bool


def _read(source: Path, asked: _Asked) -> Intake:
    with PictureCheck() as pictures:
        name, labelled = _labelled(source, asked, pictures)
        _check_pictures(labelled, pictures)
        black = [p.name for p in labelled.pictures if _nearly_black(pictures.examine(p.path))]
    if not labelled.pictures:
        raise Place(source).fault("no pictures in it; nothing to import")
    labelled = _with_good(labelled, asked.good)
    if asked.lot is not None:
        labelled = dataclasses.replace(
            labelled,
            pictures=tuple(p if p.lot else dataclasses.replace(p, lot=asked.lot) for p in labelled.pictures),
        )
    return Intake(labelled=labelled, format=name, notes=tuple(_notes(labelled, black)))


def _labelled(source: Path, asked: _Asked, pictures: PictureCheck) -> tuple[str, LabelledSet]:
    if asked.unlabelled:
        if not source.exists():
            raise Place(source).fault("no such file or folder")
        return "pictures", bare.read(source, pictures)
    if asked.format_name:
        where = label_file_of(source, asked.format_name)
        return asked.format_name, format_named(asked.format_name).read(where, pictures)
    name, where = detect(source)
    return name, format_named(name).read(where, pictures)


def _check_pictures(labelled: LabelledSet, pictures: PictureCheck) -> None:
    """Every picture and template decodes, and has the size that its labels were drawn on."""
    for picture in labelled.pictures:
        for path in (picture.path, picture.template):
            if path is None:
                continue
            facts = pictures.examine(path)
            if (facts.width_px, facts.height_px) != (picture.width_px, picture.height_px):
                what = "is" if path == picture.path else "as a template is"
                raise StationFault(
                    f"{path}: {what} {facts.width_px} x {facts.height_px} pixels, {labelled.source} says "
                    f"{picture.width_px} x {picture.height_px}; the labels belong to another picture"
                )


def _with_good(labelled: LabelledSet, good: Collection[str]) -> LabelledSet:
    """Let the named whole-picture classes mean good; ask where a name sounds as if it should."""
    counts = Counter(p.image_class for p in labelled.pictures if p.image_class is not None)
    named = set(good) - {"none"}
    for name in sorted(named - set(counts)):
        raise StationFault(
            f"--good {name}: no picture in {labelled.source} is of that class ({_shown(counts)})"
        )
    if not good:
        for name in sorted(set(counts) - GOOD_CLASSES):
            if name.strip().lower() in SOUNDS_GOOD:
                raise StationFault(
                    f"{labelled.source}: {counts[name]} pictures are called {name!r}, which may mean good: "
                    f"add --good '{name}' if it does, or --good none if it is a defect"
                )
    for picture in labelled.pictures:
        if picture.image_class in named and picture.labels:
            raise StationFault(
                f"--good {picture.image_class}: picture {picture.name!r} of that class has a defect marked"
            )
    renamed = (
        dataclasses.replace(p, image_class="good") if p.image_class in named else p for p in labelled.pictures
    )
    return dataclasses.replace(labelled, pictures=tuple(renamed))


def _shown(counts: Counter[str]) -> str:
    return (
        ", ".join(f"{name}: {count}" for name, count in counts.most_common(8)) or "none has a class of its own"
    )


def _nearly_black(facts: PictureFacts) -> bool:
    """Of 16 bits, of which the lower 12 at most are used: with 8 bits, as it is judged, little is left."""
    return facts.peak_16_bit is not None and facts.peak_16_bit < 1 << 12


def _notes(labelled: LabelledSet, black: list[str]) -> Iterator[str]:
    if black:
        yield (
            f"{len(black)} pictures of 16 bits use at most 12 of them ({_few(black)}): judged with 8 bits "
            "they are nearly black. Scale them to the full range, or save them with 8 bits, and import again."
        )
    out = [p.name for p in labelled.pictures if any(_sticks_out(p))]
    if out:
        yield f"Labels of {len(out)} pictures stick out of them and were kept as they are ({_few(out)})."
    marked = [p.name for p in labelled.pictures if p.image_class in GOOD_CLASSES and p.labels]
    if marked:
        yield f"{len(marked)} pictures are called good and have defects marked ({_few(marked)}): good counts."
    lonely = [p.name for p in labelled.pictures if not (p.part or p.lot or p.sequence)]
    if lonely:
        yield (
            f"{len(lonely)} pictures name no part, lot or sequence: near-twins of them can straddle a split. "
            "Give --lot, or a column."
        )


def _sticks_out(picture: Picture) -> Iterator[bool]:
    for label in picture.labels:
        b = label.box
        yield (
            min(b.x0_px, b.y0_px) < -0.5
            or b.x1_px > picture.width_px + 0.5
            or b.y1_px > picture.height_px + 0.5
        )


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@contextmanager
def _staging(beside: Path) -> Iterator[Path]:
    """A folder of our own while the import lasts; what killed imports left behind is removed first."""
    parent = next(p for p in beside.resolve().parents if p.is_dir())
    for left in parent.glob(_STAGING + "*"):
        with _held(left) as ours:
            if ours:
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_STAGING, dir=parent))
    try:
        with _held(folder):
            inner = folder / "files"
            inner.mkdir()
            yield inner
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a staging folder's lock, which ends with its process; False when somebody else does."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
