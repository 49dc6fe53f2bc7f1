# SPDX-License-Identifier: AGPL-3.0-or-later
"""Label Studio's packing of brush masks: the "rle-pack" bit stream of thi.ng/umbrella over an RGBA picture.

A header (32 bits length, 5 bits word size - 1, four times 4 bits size - 1), then packets: one bit "a run", two
bits which of the four sizes the count - 1 has, the count, then one word for a run or that many words.
Only the alpha channel says what was painted. Row by row; the four bytes of a pixel stand together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.formats.place import Place, listing
from datasets.labels import Rle

_SIZES = (3, 4, 8, 16)  # as Label Studio writes; others are read as well
_WORD_BITS = 8
_LONGEST = 1 << _SIZES[-1]


def unpack_mask(place: Place, packed: object, width_px: int, height_px: int) -> np.ndarray:
    """Boolean (h, w) mask of a `value.rle`; refuses what is not one of that size."""
    values = listing(place, packed)
    if not all(type(v) is int and 0 <= v <= 255 for v in values):
        raise place.fault("run lengths are a list of bytes, 0 to 255")
    bits = np.unpackbits(np.array(values, np.uint8))
    reader = _Bits(place, bits)
    length, word_bits = reader.take(32), reader.take(5) + 1
    sizes = [reader.take(4) + 1 for _ in range(4)]
    if length != width_px * height_px * 4:
        raise place.fault(
            f"it holds {length} values, a {width_px} x {height_px} picture needs {width_px * height_px * 4}"
        )
    if word_bits != _WORD_BITS:
        raise place.fault(f"words of {word_bits} bits; masks have {_WORD_BITS}")
    out = np.zeros(length, np.uint8)
    done = 0
    while done < length:
        a_run = reader.take(1)
        count = reader.take(sizes[reader.take(2)]) + 1
        if done + count > length:
            raise place.fault("its run lengths overrun the picture")
        out[done : done + count] = reader.take(_WORD_BITS) if a_run else reader.words(count)
        done += count
    return out.reshape(height_px, width_px, 4)[:, :, 3] > 0


class _Bits:
    def __init__(self, place: Place, bits: np.ndarray) -> None:
        self._place, self._bits, self._at = place, bits, 0

    def take(self, count: int) -> int:
        """The next bits as a number."""
        piece = self._next(count)
        return int("".join(map(str, piece.tolist())), 2)

    def words(self, count: int) -> np.ndarray:
        """The next bytes."""
        return np.packbits(self._next(count * _WORD_BITS))

    def _next(self, count: int) -> np.ndarray:
        piece = self._bits[self._at : self._at + count]
        if len(piece) < count:
            raise self._place.fault("its run lengths break off")
        self._at += count
        return piece


def pack_mask(mask: np.ndarray) -> list[int]:
    """A boolean (h, w) mask as `value.rle`."""
    runs = Rle.from_mask(mask.T).counts  # row by row: the columns of the transpose
    words = [f"{mask.size * 4:032b}", f"{_WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for index, run in enumerate(runs):
        words += _run_words(run * 4, 255 if index % 2 else 0)
    text = "".join(words)
    text += "0" * (-len(text) % 8)
    return np.packbits(np.frombuffer(text.encode(), np.uint8) - ord("0")).tolist()


def _run_words(length: int, value: int) -> Sequence[str]:
    words = []
    while length:
        count = min(length, _LONGEST)
        which = next(i for i, size in enumerate(_SIZES) if count <= 1 << size)
        words.append(f"1{which:02b}{count - 1:0{_SIZES[which]}b}{value:08b}")
        length -= count
    return words
