# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pixel formats: GenICam's Pixel Format Naming Convention (PFNC), names <-> codes, sizes, and 8-bit pictures.

A PFNC code is `0xCCBBNNNN`: CC says mono/mosaic (01) or colour (02), BB the bits a pixel takes in memory,
NNNN the format. Values are those of the PFNC value list, version 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inspection.types import StationFault


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """One format: how many significant bits, how many memory bits a pixel, how many channels."""

    name: str
    code: int
    depth_bits: int  # significant bits of a sample
    channels: int = 1
    packing: str = ""  # "" unpacked, "p" PFNC bit-packed (LSB first), "packed" GigE Vision's older layout

    @property
    def memory_bits(self) -> int:
        """Bits a pixel takes in the buffer."""
        return self.code >> 16 & 0xFF

    @property
    def mosaic(self) -> bool:
        """Whether colours are laid out as a Bayer pattern."""
        return self.name.startswith("Bayer")


def _unpacked(name: str, code: int, depth_bits: int, channels: int = 1) -> PixelFormat:
    return PixelFormat(name=name, code=code, depth_bits=depth_bits, channels=channels)


FORMATS: tuple[PixelFormat, ...] = (
    _unpacked("Mono8", 0x01080001, 8),
    _unpacked("Mono10", 0x01100003, 10),
    _unpacked("Mono12", 0x01100005, 12),
    _unpacked("Mono14", 0x01100025, 14),
    _unpacked("Mono16", 0x01100007, 16),
    PixelFormat(name="Mono10p", code=0x010A0046, depth_bits=10, packing="p"),
    PixelFormat(name="Mono12p", code=0x010C0047, depth_bits=12, packing="p"),
    PixelFormat(name="Mono12Packed", code=0x010C0006, depth_bits=12, packing="packed"),
    _unpacked("BayerGR8", 0x01080008, 8),
    _unpacked("BayerRG8", 0x01080009, 8),
    _unpacked("BayerGB8", 0x0108000A, 8),
    _unpacked("BayerBG8", 0x0108000B, 8),
    _unpacked("BayerGR10", 0x0110000C, 10),
    _unpacked("BayerRG10", 0x0110000D, 10),
    _unpacked("BayerGB10", 0x0110000E, 10),
    _unpacked("BayerBG10", 0x0110000F, 10),
    _unpacked("BayerGR12", 0x01100010, 12),
    _unpacked("BayerRG12", 0x01100011, 12),
    _unpacked("BayerGB12", 0x01100012, 12),
    _unpacked("BayerBG12", 0x01100013, 12),
    _unpacked("BayerGR16", 0x0110002E, 16),
    _unpacked("BayerRG16", 0x0110002F, 16),
    _unpacked("BayerGB16", 0x01100030, 16),
    _unpacked("BayerBG16", 0x01100031, 16),
    _unpacked("RGB8", 0x02180014, 8, 3),
    _unpacked("BGR8", 0x02180015, 8, 3),
    _unpacked("RGBa8", 0x02200016, 8, 4),
    _unpacked("BGRa8", 0x02200017, 8, 4),
)
_BY_CODE = {f.code: f for f in FORMATS}
_BY_NAME = {f.name: f for f in FORMATS}


def format_of(code: int) -> PixelFormat:
    """The format of a PFNC code; StationFault for one that this station cannot read."""
    try:
        return _BY_CODE[code]
    except KeyError:
        raise StationFault(
            f"Pixel format 0x{code:08X} is not supported: set the camera to one of {', '.join(_BY_NAME)}."
        ) from None


def code_of(name: str) -> int:
    """PFNC code of a format name; StationFault names the ones we know."""
    try:
        return _BY_NAME[name].code
    except KeyError:
        raise StationFault(
            f"Pixel format {name} is not supported: set [[camera]] pixel_format to one of "
            f"{', '.join(_BY_NAME)}."
        ) from None


def name_of(code: int) -> str:
    """Name of a PFNC code."""
    return format_of(code).name


def bytes_per_frame(code: int, width_px: int, height_px: int) -> int:
    """Bytes of one picture, without padding and chunk data (packed formats round up once, at the end)."""
    return (width_px * height_px * format_of(code).memory_bits + 7) // 8


def samples(pixels: np.ndarray, code: int, width_px: int, height_px: int) -> np.ndarray:
    """Raw samples of a buffer: uint8 or uint16, (height, width) or (height, width, channels).

    `pixels` is uint8 (n,) with n >= bytes_per_frame. A view of it where the format is not packed.
    """
    f = format_of(code)
    data = pixels[: bytes_per_frame(code, width_px, height_px)]
    if f.packing == "p":
        words = _unpack_p(data, f.depth_bits, width_px * height_px)
    elif f.packing == "packed":
        words = _unpack_gige12(data, width_px * height_px)
    else:
        words = data if f.depth_bits == 8 else data.view("<u2")
    shape = (height_px, width_px) if f.channels == 1 else (height_px, width_px, f.channels)
    return words.reshape(shape)


def to_mono8(pixels: np.ndarray, code: int, width_px: int, height_px: int) -> np.ndarray:
    """Grey picture, uint8 (height, width). 8-bit mono is a view, everything else a new array."""
    f = format_of(code)
    if f.mosaic or f.channels > 1:
        import cv2  # noqa: PLC0415 - the worker and the supervisor know formats, but must not load OpenCV

        return cv2.cvtColor(to_bgr8(pixels, code, width_px, height_px), cv2.COLOR_BGR2GRAY)
    return _to_8_bit(samples(pixels, code, width_px, height_px), f.depth_bits)


def to_bgr8(pixels: np.ndarray, code: int, width_px: int, height_px: int) -> np.ndarray:
    """Colour picture in OpenCV's order, uint8 (height, width, 3); bilinear demosaicing. BGR8 is a view."""
    import cv2  # noqa: PLC0415 - see to_mono8

    f = format_of(code)
    picture = _to_8_bit(samples(pixels, code, width_px, height_px), f.depth_bits)
    if f.name == "BGR8":
        return picture
    # OpenCV's older names (BayerBG2BGR ...) name a mosaic by its second row and second column; the aliases
    # used here spell the first two rows as PFNC's RG, GR, GB, BG mean them.
    how = {
        "Mono": cv2.COLOR_GRAY2BGR,
        "BayerRG": cv2.COLOR_BayerRGGB2BGR,
        "BayerGR": cv2.COLOR_BayerGRBG2BGR,
        "BayerGB": cv2.COLOR_BayerGBRG2BGR,
        "BayerBG": cv2.COLOR_BayerBGGR2BGR,
        "RGB": cv2.COLOR_RGB2BGR,
        "RGBa": cv2.COLOR_RGBA2BGR,
        "BGRa": cv2.COLOR_BGRA2BGR,
    }
    family = f.name.removesuffix("Packed").rstrip("p").rstrip("0123456789")
    return cv2.cvtColor(np.ascontiguousarray(picture), how[family])


def _to_8_bit(words: np.ndarray, depth_bits: int) -> np.ndarray:
    return words if words.dtype == np.uint8 else (words >> (depth_bits - 8)).astype(np.uint8)


def _unpack_p(data: np.ndarray, depth_bits: int, count: int) -> np.ndarray:
    """PFNC's `p` packing: samples follow each other bit by bit, least significant bit first."""
    group, size = (4, 5) if depth_bits == 10 else (2, 3)  # samples, and the bytes they fill exactly
    groups = -(-count // group)
    padded = np.zeros(groups * size, np.uint8)
    padded[: data.size] = data
    octets = padded.reshape(groups, size).astype(np.uint64)
    bits = np.zeros(groups, np.uint64)
    for i in range(size):
        bits |= octets[:, i] << np.uint64(8 * i)
    mask = np.uint64((1 << depth_bits) - 1)
    words = np.empty((groups, group), np.uint16)
    for i in range(group):
        words[:, i] = (bits >> np.uint64(depth_bits * i)) & mask
    return words.reshape(-1)[:count]


def _unpack_gige12(data: np.ndarray, count: int) -> np.ndarray:
    """GigE Vision's Mono12Packed: high byte of sample 0, both low nibbles (0's lower), high byte of 1."""
    groups = -(-count // 2)
    padded = np.zeros(groups * 3, np.uint8)
    padded[: data.size] = data
    octets = padded.reshape(groups, 3).astype(np.uint16)
    words = np.empty((groups, 2), np.uint16)
    words[:, 0] = octets[:, 0] << 4 | octets[:, 1] & 0x0F
    words[:, 1] = octets[:, 2] << 4 | octets[:, 1] >> 4
    return words.reshape(-1)[:count]
