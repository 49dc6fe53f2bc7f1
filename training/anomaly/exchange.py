# SPDX-License-Identifier: AGPL-3.0-or-later
"""A teaching's folder changes as a whole: after kill -9 at any moment its bundle is the old one or the new one.

What is new is written to DIR/.adding. Renaming that to DIR/.added decides: what was not renamed is thrown away
by the next call, what was is brought to its place by the next call if this one could not. The two bundles
change places in one system call where the system has it (Linux: renameat2), so DIR/bundle is never missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inspection.storage.files import sync_folder
from inspection.types import StationFault
from training.anomaly.state import FACTS
from weights.bundle import MANIFEST_NAME

ADDING, ADDED, HISTORY = ".adding", ".added", "history"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNABLE = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP})


@contextmanager
def alone_in(folder: Path, *, make: bool = False) -> Iterator[None]:
    """Hold a teaching's folder for a whole call: what one reads and then replaces, no other replaces meanwhile.

    make: the folder where it is not there; it goes again when the call leaves nothing in it. The lock is on the
    folder itself and ends with the process. StationFault when another call holds it.
    """
    made = make and not folder.exists()
    if not made and not folder.is_dir():
        if folder.exists():
            raise StationFault(f"{folder} is no folder: choose another one.")
        yield  # nothing is there to hold; whoever reads it says so
        return
    try:
        if made:
            folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        raise StationFault(f"{folder} cannot be used ({e.strerror}): choose another folder.") from e
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StationFault(f"another call is teaching in {folder}: wait until it ends.") from None
        except OSError as e:  # a share without locks
            if made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise StationFault(
                f"{folder} cannot be locked against other calls ({e.strerror}):"
                " choose a folder on a local disk."
            ) from e
        try:
            yield
        finally:
            if made:
                with contextlib.suppress(OSError):  # there is something in it
                    folder.rmdir()
    finally:
        os.close(held)


@contextmanager
def changed_whole(folder: Path) -> Iterator[Path]:
    """A folder to write the new bundle and state into; they take their places when all of it stands.

    `folder` is held (`alone_in`), which also made it; whatever ends this early leaves it as it was.
    """
    staged = folder / ADDING
    staged.mkdir()
    try:
        yield staged
    except BaseException:
        shutil.rmtree(staged)
        raise
    sync_folder(staged)
    staged.rename(folder / ADDED)
    sync_folder(folder)
    settle(folder)


def settle(folder: Path) -> None:
    """Finish or undo what an earlier call that was stopped has left."""
    if (folder / ADDING).exists():
        shutil.rmtree(folder / ADDING)
    added = folder / ADDED
    if not added.exists():
        return
    if (added / "bundle").exists():
        _change_places(folder, added)
    # the facts last: they name the parent, without which this could not go on after the next stop
    for path in sorted(added.iterdir(), key=lambda path: path.name == FACTS):
        path.replace(folder / path.name)
    added.rmdir()
    sync_folder(folder)


def _change_places(folder: Path, added: Path) -> None:
    """The new bundle to DIR/bundle, the old one to the history."""
    old, new = folder / "bundle", added / "bundle"
    if not old.exists():
        new.rename(old)
        sync_folder(folder)
        return
    facts = json.loads((added / FACTS).read_text())
    history = folder / HISTORY
    history.mkdir(exist_ok=True)
    place = history / str(facts["data"]["parent"])[:12]
    if _sha256(old) != facts["bundle_sha256"]:
        if not _exchanged(old, new):
            old.rename(place)
            new.rename(old)
            sync_folder(history)
            sync_folder(folder)
            return
        sync_folder(folder)
    new.rename(place)  # the old one by now
    sync_folder(history)


def _sha256(bundle: Path) -> str:
    try:
        return hashlib.sha256((bundle / MANIFEST_NAME).read_bytes()).hexdigest()
    except OSError as e:
        raise StationFault(f"{bundle} is no bundle ({e.strerror}): teach again.") from None


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places at once. False where the system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNABLE:
        return False
    raise OSError(number, os.strerror(number), str(one))
