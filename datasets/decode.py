# SPDX-License-Identifier: AGPL-3.0-or-later
"""The child that opens pictures nobody has vouched for (`python -m datasets.decode`): little memory and time.

One JSON object a line in, `{"path": ..., "mask": false}`, one out: what the picture is, or `{"error": ...}`.
It imports Pillow and nothing of ours, and lives under its own limits of memory and processor time: a
picture made to explode takes this process with it and no other. The parent is `datasets/hostile.py`.

Pillow and not OpenCV: a 151-byte PNG with a false chunk length makes OpenCV 5.0.0 take 8-11 s and 4 GB.
PNG files are therefore verified chunk by chunk to their end before they count as pictures, so that what
passes here is harmless to OpenCV later. Of the other kinds Pillow reads more than OpenCV, which trains and
judges: those are shown to OpenCV as well, after Pillow.
"""

from __future__ import annotations

import hashlib
import io
import json
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MAX_PIXELS = 128_000_000  # a 5000 x 20000 strip is 100 million
MAX_FILE_BYTES = 512 << 20
MEMORY_BYTES = 3 << 30
PROCESSOR_S = 30
"""Processor seconds one picture may take."""

_EXIF_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_SURE = ("PNG", "JPEG", "MPO")  # kinds of which OpenCV reads all that Pillow does
_HALF = 127
_DEEP = "I;16"  # Pillow's modes of 16 bits begin so


def main() -> int:
    """Answer line by line until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    Image.MAX_IMAGE_PIXELS = None  # our own cap comes first and has its own sentence
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        _allow_processor_time()
        wanted = json.loads(line)
        sys.stdout.write(json.dumps(_answer(Path(wanted["path"]), bool(wanted["mask"]))) + "\n")
        sys.stdout.flush()
    return 0


def _allow_processor_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + PROCESSOR_S
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def _answer(path: Path, mask: bool) -> dict[str, Any]:
    try:
        if not path.is_file():
            return {"error": "no such file, or not a plain one"}
        if path.stat().st_size > MAX_FILE_BYTES:
            return {"error": f"larger than {MAX_FILE_BYTES >> 20} MiB"}
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width_px, height_px = picture.size
            if width_px * height_px > MAX_PIXELS:
                return {
                    "error": f"{width_px} x {height_px} pixels, more than {MAX_PIXELS // 1_000_000} million"
                }
            picture.verify()
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            frames = getattr(picture, "n_frames", 1)
            if frames != 1 and picture.format != "MPO":
                return {"error": f"{frames} pictures in one file; save each on its own"}
            picture.load()
            if picture.getexif().get(_EXIF_ORIENTATION) in _TURNED:  # as every viewer and OpenCV show it
                width_px, height_px = height_px, width_px
            answer: dict[str, Any] = {
                "width_px": width_px,
                "height_px": height_px,
                "kind": picture.format,
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            if picture.mode.startswith(_DEEP):
                answer["peak_16_bit"] = _peak(picture)
            if mask:
                return answer | _mask(picture)
            if picture.format not in _SURE and not _opens_in_opencv(path, width_px, height_px):
                return {
                    "error": f"a {picture.format} of a kind that cannot be judged ({picture.mode}); save as PNG"
                }
            return answer
    except MemoryError:
        return {"error": "needs more memory than a picture may"}
    except Image.UnidentifiedImageError:
        return {"error": f"not a picture of a kind that is taken ({', '.join(FORMATS)})"}
    except Exception as error:  # noqa: BLE001 - top of a process whose one purpose is to meet broken files
        return {"error": f"broken ({' '.join(str(error).split())[:120] or type(error).__name__})"}


def _peak(picture: Image.Image) -> int:
    """Brightest pixel; Pillow's own getextrema() knows no 16 bits of the other byte order."""
    import numpy as np  # noqa: PLC0415 - few sets need it

    return int(np.asarray(picture).max(initial=0))


def _opens_in_opencv(path: Path, width_px: int, height_px: int) -> bool:
    """By the call that reads it later: from memory OpenCV takes turned TIFF files that it refuses from disk."""
    import cv2  # noqa: PLC0415 - few sets need it

    try:
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:
        return False
    return pixels is not None and pixels.shape[:2] == (height_px, width_px)


def _mask(picture: Image.Image) -> dict[str, Any]:
    """Run lengths of what is marked, column by column, as `datasets.labels.Rle` has them.

    Marked is what is brighter than half. A mask of two values that are both darker (0 and 1, as arrays are
    often saved) is taken at its word; one of more values would be a guess.
    """
    import numpy as np  # noqa: PLC0415 - masks only

    grey = np.asarray(picture.convert("L"))
    peak = int(grey.max(initial=0))
    if 0 < peak <= _HALF and np.any((grey > 0) & (grey < peak)):
        return {
            "error": f"a mask of several values, the brightest {peak} of 255; save what is marked as 255, "
            "the rest as 0"
        }
    flat = (grey > min(_HALF, max(0, peak - 1))).ravel(order="F")
    bounds = np.concatenate(([0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]))
    counts: list[int] = np.diff(bounds).tolist()
    return {"counts": [0, *counts] if flat.size and flat[0] else counts}


if __name__ == "__main__":
    sys.exit(main())
