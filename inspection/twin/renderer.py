# SPDX-License-Identifier: AGPL-3.0-or-later
"""Draw the twin's parts: a machined flange on a belt, with defects whose place, size and visibility are known.

A pure function of (seed, part number, view): no order of calls, clock or process changes a pixel. A frame is
`width_px` x `height_px`; the detector sees rows 0..height-17 and the last 16 rows hold the stamp (see
stamp.py).

Detectability of a defect is the signal-to-noise ratio of a matched filter that knows its shape,
`sqrt(sum(difference^2)) / sigma`, with the difference to the defect-free rendering of the same pose and sigma
the
RMS of sensor noise and surface texture around it. For a flat defect this is contrast * sqrt(area) / sigma, the
quantity of Rose's criterion (A. Rose, J. Opt. Soc. Am. 38, 1948: about 5 to see a known spot in white noise).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np

from inspection.twin.defects import CONTRAST_GREY, EDGE_KINDS, DefectKind, draw_shape
from inspection.twin.stamp import STRIP_HEIGHT_PX, stamp
from inspection.twin.surface import (
    BELT_GREY,
    BORE_RADIUS_PX,
    OUTER_RADIUS_PX,
    Surface,
    draw_belt,
    draw_light,
    draw_surface,
)
from inspection.types import Box

DETECTABILITY_LIMIT = 24.0
"""Parts whose most visible defect lies below this count as not detectable; fixed before any evaluation."""
SIZE_RANGE_PX = (4.0, 60.0)
READ_NOISE_GREY = 1.5
SHOT_NOISE_GREY = 0.028  # variance in grey levels squared per grey level
LENS_SIGMA_PX = 0.55
SHIFT_PX = 4.0
VARIANTS = 3  # textures a face cycles through, one a lot
LOT_PARTS = 400
_SIDE_PX = 320  # part space, and the part of the frame that the detector sees
_CACHED_PARTS = 16
_PLACEMENTS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectTruth:
    """One drawn defect: kind, view, largest extent of its box, box in frame pixels, matched-filter SNR."""

    kind: str
    view: int
    size_px: float
    box: Box
    detectability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTruth:
    """What is wrong with one part. `above_limit`: its most visible defect reaches the detectability limit."""

    part_no: int
    defective: bool
    defects: tuple[DefectTruth, ...]
    above_limit: bool


@dataclass(frozen=True, slots=True)
class _Pose:
    angle_rad: float
    shift: tuple[float, float]
    light_level: float
    motion_px: float
    belt_origin: tuple[int, int]
    variant: int


@dataclass(frozen=True, slots=True)
class _Placed:
    """A defect in place: its signed difference (patch) with the corner of the patch in the picture."""

    kind: DefectKind
    corner: tuple[int, int]
    difference: np.ndarray
    box: Box
    detectability: float


class PartRenderer:
    """Draws every view of every part of one seed. Not thread-safe (a small cache); give each thread its own.

    `crowd`: from..to so many defects on one view of each defective part, for teaching; a line never sees that.
    Raises ValueError for a geometry that the drawing does not fit: the width must be 320 px and the height 336.
    """

    def __init__(
        self,
        *,
        seed: int,
        views: int,
        width_px: int = 320,
        height_px: int = 336,
        defective_share: float = 0.2,
        size_range_px: tuple[float, float] = SIZE_RANGE_PX,
        crowd: tuple[int, int] | None = None,
    ) -> None:
        if (width_px, height_px) != (_SIDE_PX, _SIDE_PX + STRIP_HEIGHT_PX):
            raise ValueError(
                f"parts are drawn at {_SIDE_PX}x{_SIDE_PX + STRIP_HEIGHT_PX} px, not {width_px}x{height_px}"
            )
        if seed < 0 or not 1 <= views <= 255 or not 0.0 <= defective_share <= 1.0:
            raise ValueError("a renderer needs seed >= 0, 1..255 views and a defective share of 0..1")
        self.seed, self.views, self.defective_share = seed, views, defective_share
        self.width_px, self.height_px = width_px, height_px
        self._size_range_px = size_range_px
        self._crowd = crowd
        self._surfaces: dict[tuple[int, int], Surface] = {}
        self._lights: dict[int, np.ndarray] = {}
        self._belt, self._belt_rms = draw_belt(self._rng(0, 0, 7), 512)
        self._truths: OrderedDict[int, PartTruth] = OrderedDict()

    def truth(self, part_no: int) -> PartTruth:
        """Return what is wrong with a part; draws its defective views once (4 ms), remembers a few parts."""
        known = self._truths.get(part_no)
        if known is None:
            known = self._truth(part_no)
            self._truths[part_no] = known
            if len(self._truths) > _CACHED_PARTS:
                self._truths.popitem(last=False)
        return known

    def render(self, part_no: int, view: int) -> np.ndarray:
        """Return one frame, uint8 (height_px, width_px), stamped; the caller owns it."""
        if not 0 <= view < self.views:
            raise ValueError(f"view {view} is not one of 0..{self.views - 1}")
        pose = self._pose(part_no, view)
        clean, metal = self._clean(pose, view)
        for placed in self._defects(part_no, view, pose, clean, metal):
            x, y = placed.corner
            height, width = placed.difference.shape
            clean[y : y + height, x : x + width] += placed.difference
        seen = _blur(clean, pose.motion_px)
        rng = self._rng(part_no, view, 3)
        noise = rng.standard_normal(seen.shape, np.float32)
        noise *= np.sqrt(READ_NOISE_GREY**2 + SHOT_NOISE_GREY * np.maximum(seen, 0.0))
        seen += noise
        frame = np.empty((self.height_px, self.width_px), np.uint8)
        frame[:_SIDE_PX] = np.clip(seen + 0.5, 0, 255)
        stamp(frame, part_no, view)
        strip = frame[_SIDE_PX:].astype(np.float32)
        strip += 2.5 * rng.standard_normal(strip.shape, np.float32)
        frame[_SIDE_PX:] = np.clip(strip + 0.5, 0, 255)
        return frame

    def _rng(self, part_no: int, view: int, purpose: int) -> np.random.Generator:
        return np.random.Generator(
            np.random.Philox(np.random.SeedSequence((self.seed, part_no, view, purpose)))
        )

    def _truth(self, part_no: int) -> PartTruth:
        defects: list[DefectTruth] = []
        for view in sorted({view for view, _ in self._plan(part_no)}):
            pose = self._pose(part_no, view)
            clean, metal = self._clean(pose, view)
            for placed in self._defects(part_no, view, pose, clean, metal):
                truth = DefectTruth(
                    kind=placed.kind.value,
                    view=view,
                    size_px=placed.box.size_px,
                    box=placed.box,
                    detectability=placed.detectability,
                )
                defects.append(truth)
        best = max((defect.detectability for defect in defects), default=0.0)
        return PartTruth(
            part_no=part_no,
            defective=bool(defects),
            defects=tuple(defects),
            above_limit=best >= DETECTABILITY_LIMIT,
        )

    def _plan(self, part_no: int) -> list[tuple[int, DefectKind]]:
        """Decide which views carry which kinds of defect; empty for a good part."""
        rng = self._rng(part_no, 0, 1)
        if rng.random() >= self.defective_share:
            return []
        count = int(rng.choice([1, 2, 3], p=[0.75, 0.2, 0.05]))
        first = int(rng.integers(self.views))
        kinds = list(DefectKind)
        if self._crowd is not None:
            # small lumps and bites at an edge are the hardest to learn: they come twice as often
            weights = np.array([2.0 if kind in EDGE_KINDS else 1.0 for kind in kinds])
            size = int(rng.integers(self._crowd[0], self._crowd[1] + 1))
            return [(first, kinds[i]) for i in rng.choice(len(kinds), size=size, p=weights / weights.sum())]
        plan: list[tuple[int, DefectKind]] = []
        while len(plan) < count:
            view = first if not plan or rng.random() < 0.8 else int(rng.integers(self.views))
            plan.append((view, kinds[int(rng.integers(len(kinds)))]))
        return plan

    def _pose(self, part_no: int, view: int) -> _Pose:
        rng = self._rng(part_no, view, 2)
        lot = part_no // LOT_PARTS
        drift = 1 + 0.05 * np.sin(2 * np.pi * part_no / 2900 + view) + 0.02 * rng.standard_normal()
        return _Pose(
            angle_rad=float(rng.uniform(0, 2 * np.pi)),
            shift=(float(rng.uniform(-SHIFT_PX, SHIFT_PX)), float(rng.uniform(-SHIFT_PX, SHIFT_PX))),
            light_level=float(np.clip(drift, 0.85, 1.15)),
            motion_px=float(rng.uniform(0.0, 2.0)),
            belt_origin=(int(rng.integers(512 - _SIDE_PX)), int(rng.integers(512 - _SIDE_PX))),
            variant=lot % VARIANTS,
        )

    def _surface(self, view: int, variant: int) -> Surface:
        key = (view, variant)
        if key not in self._surfaces:
            self._surfaces[key] = draw_surface(self._rng(variant, view, 5), view, _SIDE_PX)
        return self._surfaces[key]

    def _clean(self, pose: _Pose, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the defect-free picture before lens and sensor, and the part's coverage, both (320, 320)."""
        surface = self._surface(view, pose.variant)
        if view not in self._lights:
            turned = surface.grain_angle_rad is None
            self._lights[view] = draw_light(self._rng(0, view, 6), _SIDE_PX, _SIDE_PX, turned=turned)
        centre = (_SIDE_PX - 1) / 2
        matrix = cv2.getRotationMatrix2D((centre, centre), -np.degrees(pose.angle_rad), 1.0)
        matrix[:, 2] += pose.shift
        size = (_SIDE_PX, _SIDE_PX)
        albedo = cv2.warpAffine(surface.albedo, matrix, size, flags=cv2.INTER_LINEAR)
        metal = cv2.warpAffine(surface.metal, matrix, size, flags=cv2.INTER_LINEAR)
        x, y = pose.belt_origin
        picture = self._belt[y : y + _SIDE_PX, x : x + _SIDE_PX].copy()
        picture += metal * (albedo - picture)
        picture *= self._lights[view] * np.float32(pose.light_level)
        return picture, metal

    def _defects(
        self, part_no: int, view: int, pose: _Pose, clean: np.ndarray, metal: np.ndarray
    ) -> list[_Placed]:
        """Place the planned defects of one view. Draws nothing into `clean`."""
        placed: list[_Placed] = []
        for index, (where, kind) in enumerate(self._plan(part_no)):
            if where == view:
                rng = self._rng(part_no, view, 16 + index)
                placed.append(self._place(rng, kind, pose, view, clean, metal, placed))
        return placed

    def _place(  # noqa: PLR0917 - one caller; the picture and its coverage belong together
        self,
        rng: np.random.Generator,
        kind: DefectKind,
        pose: _Pose,
        view: int,
        clean: np.ndarray,
        metal: np.ndarray,
        taken: list[_Placed],
    ) -> _Placed:
        """Find a place where the defect fits: on the metal, clear of earlier ones, with the size drawn."""
        low, high = self._size_range_px
        size_px = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        contrast = float(np.exp(rng.uniform(*np.log(CONTRAST_GREY[kind]))))
        best: tuple[float, _Placed] | None = None
        for _ in range(_PLACEMENTS):
            x, y, angle = self._spot(rng, kind, size_px, pose)
            shape = draw_shape(kind, size_px - 0.4, angle, rng)
            if kind is DefectKind.SCRATCH and rng.random() < 0.25:
                shape = -shape  # most scratches shine, an old one is dark
            half = shape.shape[0] // 2
            x0, y0 = round(x) - half, round(y) - half
            x1, y1 = x0 + shape.shape[1], y0 + shape.shape[0]
            if x0 < 0 or y0 < 0 or x1 > _SIDE_PX or y1 > _SIDE_PX:
                continue
            region = metal[y0:y1, x0:x1]
            inside = 1 - region if kind is DefectKind.BURR else region
            fit = float((np.abs(shape) * inside).sum() / np.abs(shape).sum())
            under = clean[y0:y1, x0:x1]
            difference = shape * inside * np.float32(contrast * pose.light_level)
            difference = np.clip(under + difference, 0.7 * BELT_GREY, 250.0) - under
            peak = float(np.abs(difference).max())
            if peak < 1.0:
                continue
            box = _box_of(np.abs(difference) > 0.33 * peak, x0, y0)
            misfit = abs(np.log(box.size_px / size_px)) + (
                0.0 if kind in EDGE_KINDS else 4 * max(0.0, 0.95 - fit)
            )
            misfit += 5.0 * any(_overlap(box, other.box) for other in taken)
            misfit += 5.0 * (not low <= box.size_px <= high)
            if best is None or misfit < best[0]:
                sigma = self._sigma(round(x), round(y), clean, pose, view, on_belt=kind is DefectKind.BURR)
                seen = _blur(np.pad(difference, 4), pose.motion_px)
                snr = float(np.sqrt((seen * seen).sum()) / sigma)
                best = (
                    misfit,
                    _Placed(kind=kind, corner=(x0, y0), difference=difference, box=box, detectability=snr),
                )
            if misfit < 0.15:
                break
        if best is None:
            raise ValueError(f"no place for a {kind.value} of {size_px:.1f} px on the part")
        return best[1]

    def _spot(
        self, rng: np.random.Generator, kind: DefectKind, size_px: float, pose: _Pose
    ) -> tuple[float, float, float]:
        """Draw a position in frame pixels and a direction (for edge kinds: the outward normal)."""
        turn = float(rng.uniform(0, 2 * np.pi))
        if kind in EDGE_KINDS:
            bore = size_px < 24 and rng.random() < 0.3
            radius, angle = (BORE_RADIUS_PX, turn + np.pi) if bore else (OUTER_RADIUS_PX, turn)
        else:
            reach = min(size_px / 2 + 2, 32.0)
            span = (BORE_RADIUS_PX + reach) ** 2, (OUTER_RADIUS_PX - 4 - reach) ** 2
            radius, angle = float(np.sqrt(rng.uniform(*span))), float(rng.uniform(0, 2 * np.pi))
        centre = (_SIDE_PX - 1) / 2
        return (
            centre + pose.shift[0] + radius * np.cos(turn),
            centre + pose.shift[1] + radius * np.sin(turn),
            angle,
        )

    def _sigma(self, x: int, y: int, clean: np.ndarray, pose: _Pose, view: int, *, on_belt: bool) -> float:
        """Return the RMS of sensor noise and texture around a place, grey levels."""
        if on_belt:
            grey, texture = BELT_GREY * pose.light_level, self._belt_rms
        else:
            centre = (_SIDE_PX - 1) / 2
            u, v = x - centre - pose.shift[0], y - centre - pose.shift[1]
            cos, sin = np.cos(pose.angle_rad), np.sin(pose.angle_rad)
            column, row = round(centre + u * cos + v * sin), round(centre - u * sin + v * cos)
            rms = self._surface(view, pose.variant).texture_rms
            limit = _SIDE_PX - 1
            texture = float(rms[min(max(row, 0), limit), min(max(column, 0), limit)]) * pose.light_level
            grey = float(clean[min(max(y, 0), limit), min(max(x, 0), limit)])
        return float(np.sqrt(READ_NOISE_GREY**2 + SHOT_NOISE_GREY * grey + texture**2))


def _blur(picture: np.ndarray, motion_px: float) -> np.ndarray:
    """Lens (Gaussian) and belt motion (a box of `motion_px` along x) on a float32 picture."""
    taps = np.zeros(5, np.float64)
    reach = motion_px / 2
    for index in range(5):  # overlap of each pixel with the motion's box, at least a point
        left, right = index - 2.5, index - 1.5
        taps[index] = max(0.0, min(right, max(reach, 1e-3)) - max(left, -max(reach, 1e-3)))
    taps /= taps.sum()
    lens = cv2.getGaussianKernel(3, LENS_SIGMA_PX).ravel()
    row = np.convolve(taps, lens)
    return cv2.sepFilter2D(picture, cv2.CV_32F, row, lens, borderType=cv2.BORDER_REPLICATE)


def _box_of(mask: np.ndarray, x0: int, y0: int) -> Box:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return Box(
        x0_px=float(x0 + columns[0]),
        y0_px=float(y0 + rows[0]),
        x1_px=float(x0 + columns[-1] + 1),
        y1_px=float(y0 + rows[-1] + 1),
    )


def _overlap(a: Box, b: Box) -> bool:
    gap = 3.0
    return (
        a.x0_px < b.x1_px + gap
        and b.x0_px < a.x1_px + gap
        and a.y0_px < b.y1_px + gap
        and b.y0_px < a.y1_px + gap
    )
