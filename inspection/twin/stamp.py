# SPDX-License-Identifier: AGPL-3.0-or-later
"""The stamp strip: part number and view written into each frame, below the detector's view.

The twin writes it, the station stores the strip undecoded with the part's record, and the twin reads it back
afterwards to prove which picture went with which verdict. Layout: one row of square-wave calibration, then the
payload row, both in cells of `CELL_PX`; 32 bit part number, 8 bit view, 16 bit CRC (CRC-16/CCITT-FALSE), high
bit first. 56 cells of 4 px start 8 px from the left edge of a strip at least 16 rows high and 240 px wide.
"""

from __future__ import annotations

import binascii

import numpy as np

STRIP_HEIGHT_PX = 16
CELL_PX = 4
LEFT_PX = 8
BITS = 56
DARK, BRIGHT = 24, 232
MIN_WIDTH_PX = LEFT_PX + BITS * CELL_PX + LEFT_PX
MIN_SWING = 60.0  # grey levels between dark and bright cells under which a strip is not read


def _payload(part_no: int, view: int) -> np.ndarray:
    """Return the 56 bits of a stamp as a bool array, high bit first."""
    body = part_no.to_bytes(4, "big") + view.to_bytes(1, "big")
    check = binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")
    return np.unpackbits(np.frombuffer(body + check, np.uint8)).astype(bool)


def stamp(image: np.ndarray, part_no: int, view: int) -> None:
    """Write the stamp into the last 16 rows of a uint8 image (H, W), in place.

    Raises ValueError when the image is too narrow or a number does not fit (part_no 32 bit, view 8 bit).
    """
    if image.ndim != 2 or image.shape[1] < MIN_WIDTH_PX or image.shape[0] < STRIP_HEIGHT_PX:
        raise ValueError(f"a stamp needs a grey image of at least {MIN_WIDTH_PX}x{STRIP_HEIGHT_PX} px")
    if not (0 <= part_no < 2**32 and 0 <= view < 2**8):
        raise ValueError(f"part {part_no} view {view} does not fit into a stamp (32 and 8 bit)")
    strip = image[-STRIP_HEIGHT_PX:]
    strip[:] = (DARK + BRIGHT) // 2
    cells = np.where(_payload(part_no, view), BRIGHT, DARK).astype(np.uint8)
    clock = np.where(np.arange(BITS) % 2 == 0, BRIGHT, DARK).astype(np.uint8)
    right = LEFT_PX + BITS * CELL_PX
    strip[1:6, LEFT_PX:right] = np.repeat(clock, CELL_PX)
    strip[6:15, LEFT_PX:right] = np.repeat(cells, CELL_PX)


def decode_strip(strip: np.ndarray) -> tuple[int, int] | None:
    """Read (part_no, view) from a uint8 strip (16, W), or None when it holds no valid stamp.

    The threshold is the middle of the strip's own calibration row, so gain and offset do not matter.
    """
    if strip.ndim != 2 or strip.shape[0] < STRIP_HEIGHT_PX or strip.shape[1] < MIN_WIDTH_PX:
        return None
    strip = strip[-STRIP_HEIGHT_PX:]
    right = LEFT_PX + BITS * CELL_PX
    # the inner half of each cell: neighbours bleed into the border pixels when the lens or the belt blurs
    clock = strip[2:5, LEFT_PX:right].reshape(3, BITS, CELL_PX)[:, :, 1:3].mean(axis=(0, 2))
    cells = strip[7:14, LEFT_PX:right].reshape(7, BITS, CELL_PX)[:, :, 1:3].mean(axis=(0, 2))
    bright, dark = float(clock[0::2].mean()), float(clock[1::2].mean())
    if bright - dark < MIN_SWING:
        return None
    bits = cells > (bright + dark) / 2
    data = np.packbits(bits).tobytes()
    if binascii.crc_hqx(data[:5], 0xFFFF) != int.from_bytes(data[5:], "big"):
        return None
    return int.from_bytes(data[:4], "big"), data[4]
