# SPDX-License-Identifier: AGPL-3.0-or-later
"""The child that unpacks archives nobody has vouched for: `python -m datasets.archive ARCHIVE FOLDER`.

Plain files and folders only, below FOLDER only, within limits of members, bytes and ratio, counted on what
comes out and not on what the archive says of itself. Exit code 0, or 3 and one sentence on standard output
that names the member. The parent is `datasets/hostile.py`.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import resource
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

MEMORY_BYTES = 1 << 30
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an archive may hold."""

    members: int = 500_000
    total_bytes: int = 64 << 30
    free_bytes: int = 64 << 20  # below this no ratio is asked for
    ratio: int = 200  # unpacked to packed; label text reaches 30, a bomb 1000
    name_bytes: int = 1024
    depth: int = 32


class Refused(Exception):
    """One sentence: the member, and what is wrong with it."""


@dataclass(slots=True)
class _Budget:
    """Counts what came out."""

    limits: Limits
    packed_bytes: int
    members: int = 0
    out_bytes: int = 0
    seen: set[str] = field(default_factory=set)

    def admit(self, name: str) -> PurePosixPath:
        """A member's name as a path below the folder; Refused when it is not one."""
        self.members += 1
        if self.members > self.limits.members:
            raise Refused(f"more than {self.limits.members} members")
        shown = repr(name[:80])
        path = PurePosixPath(name)
        parts = path.parts
        if not parts or name.startswith("/") or path.is_absolute() or ".." in parts or ":" in parts[0]:
            raise Refused(f"member {shown} would lie outside the folder; pack it with relative names")
        if "\\" in name:
            raise Refused(f"member {shown} has a backslash in its name; pack it with / between folders")
        if any(ord(c) < 32 or ord(c) == 127 for c in name) or (not name.isprintable() and "\ufffd" in name):
            raise Refused(f"member {shown} has control characters in its name")
        if (
            len(name.encode(errors="surrogateescape")) > self.limits.name_bytes
            or len(parts) > self.limits.depth
        ):
            raise Refused(f"member {shown} has too long a name")
        return path

    def once(self, path: PurePosixPath) -> None:
        """Refuse a second file of the same name: which one counts would be a guess."""
        if str(path) in self.seen:
            raise Refused(f"member '{path}' is in it twice")
        self.seen.add(str(path))

    def take(self, count: int, name: str) -> None:
        """Count bytes that came out; Refused when they are too many."""
        self.out_bytes += count
        if self.out_bytes > self.limits.total_bytes:
            raise Refused(f"member {name!r} brings it over {self.limits.total_bytes >> 30} GiB unpacked")
        if self.out_bytes > self.limits.free_bytes and self.out_bytes > self.limits.ratio * self.packed_bytes:
            raise Refused(
                f"member {name!r} unpacks to more than {self.limits.ratio} times what the archive has: a bomb"
            )


def unpack(archive: Path, into: Path, limits: Limits) -> None:
    """Unpack `archive` into the folder `into`; Refused with one sentence."""
    if not archive.is_file():
        raise Refused("no such file")
    budget = _Budget(limits, archive.stat().st_size)
    if zipfile.is_zipfile(archive):
        _unpack_zip(archive, into, budget)
    else:
        _unpack_tar(archive, into, budget)


def _unpack_zip(archive: Path, into: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as source:
        for info in source.infolist():
            name = budget.admit(info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Refused(f"member {info.filename!r} is a link or a device; only plain files are taken")
            if info.flag_bits & 1:
                raise Refused(f"member {info.filename!r} is encrypted; pack it without a password")
            if info.is_dir():
                (into / name).mkdir(parents=True, exist_ok=True)
                continue
            budget.once(name)
            try:
                with source.open(info) as member:
                    _write(member, into / name, info.filename, budget)
            except (
                zipfile.BadZipFile,
                zlib.error,
                EOFError,
                NotImplementedError,
                lzma.LZMAError,
                OSError,
            ) as error:
                raise Refused(
                    f"member {info.filename!r} is broken ({error}); fetch the archive again"
                ) from None


def _unpack_tar(archive: Path, into: Path, budget: _Budget) -> None:
    last = "the first"
    try:
        with _tar_stream(archive) as raw, tarfile.open(fileobj=raw, mode="r|") as source:
            for info in source:
                name = budget.admit(info.name)
                last = f"the one after {info.name!r}"
                if info.isdir():
                    (into / name).mkdir(parents=True, exist_ok=True)
                    continue
                if not info.isreg() or info.issparse():
                    raise Refused(f"member {info.name!r} is a link or a device; only plain files are taken")
                budget.once(name)
                member = source.extractfile(info)
                assert member is not None  # noqa: S101 - it is a plain file
                _write(member, into / name, info.name, budget)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise Refused(f"not a whole zip or tar archive ({error}; member {last}); fetch it again") from None


def _tar_stream(archive: Path) -> BinaryIO:
    """The archive's bytes, decompressed as they are read."""
    with archive.open("rb") as raw:
        head = raw.read(6)
    if head.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.open(archive, "rb"))
    if head.startswith(b"BZh"):
        return cast("BinaryIO", bz2.open(archive, "rb"))
    if head.startswith(b"\xfd7zXZ\x00"):
        return cast("BinaryIO", lzma.open(archive, "rb"))
    return archive.open("rb")


def _write(member: IO[bytes], target: Path, name: str, budget: _Budget) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        for piece in _pieces(member):
            budget.take(len(piece), name)
            out.write(piece)


def _pieces(member: IO[bytes]) -> Iterator[bytes]:
    while piece := member.read(1 << 20):
        yield piece


def main(argv: list[str]) -> int:
    """Unpack argv[0] into argv[1]."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    archive, into = Path(argv[0]), Path(argv[1])
    try:
        unpack(archive, into, Limits())
    except Refused as refused:
        sys.stdout.write(str(refused))
    except MemoryError:
        sys.stdout.write("unpacking needs more memory than an archive may")
    except Exception as error:  # noqa: BLE001 - top of a process whose one purpose is to meet broken files
        sys.stdout.write(f"not a whole zip or tar archive ({type(error).__name__}: {error}); fetch it again")
    else:
        return 0
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
