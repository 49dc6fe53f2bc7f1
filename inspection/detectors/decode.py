# SPDX-License-Identifier: AGPL-3.0-or-later
"""From what a network puts out to findings in camera pixels: rows of boxes, maps, or whole-picture scores.

One decoder for each output kind of a card. Numbers that are not finite, scores outside 0..1, classes the model
does not have and tables of another shape are an `EngineFault`: such a network has not looked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

from inspection.detectors.base import EngineFault, View
from inspection.pixels import Corners, Letterbox, with_channels
from inspection.prepare import Placement, prepare, takes_reference
from inspection.types import Box, Finding, StationFault
from weights.bundle import Bundle
from weights.card import Card

_ROW_WORDS = 6
_SCORE_SLACK = 1e-3  # float32 sigmoids may touch 1 + epsilon
_CLASS_SLACK = 1e-3
_MOST_REGIONS = 300  # of a class in a picture; as many as a table of boxes has rows


class Place(Protocol):
    """How a picture lies in the network's input: a `Letterbox`, or a `Placement` where it was prepared."""

    @property
    def width_px(self) -> int:
        """Of the network's input."""
        ...

    @property
    def height_px(self) -> int:
        """Of the network's input."""
        ...

    @property
    def inner_px(self) -> tuple[int, int]:
        """Width and height of the picture inside the input."""
        ...

    @property
    def offset_px(self) -> tuple[int, int]:
        """Left and top padding of the input."""
        ...

    @property
    def identity(self) -> bool:
        """Whether input and source pixels are the same."""
        ...

    def to_source(self, corners: Corners) -> Corners:
        """Map a box from input to source pixels, clipped to the source."""
        ...


class Decoder(Protocol):
    """Turns one picture's output into findings in camera pixels, best first; EngineFault for nonsense."""

    def decode(self, table: np.ndarray, place: Place, view: View) -> tuple[Finding, ...]:
        """`table`: the output without its batch dimension."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDecoder:
    """Turns boxes_n6 rows (N, 6: x0, y0, x1, y1, score, class; input pixels) into findings in frame pixels.

    The table is looked at with few numpy calls and the few rows above the floor one by one: right after a
    network has used the caches up, twenty calls on tiny arrays cost 300 us a picture, this a fifth.
    """

    classes: tuple[str, ...]
    floor_score: float
    _floor: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_floor", float(np.float32(self.floor_score)))  # as precise as the scores

    def decode(self, rows: np.ndarray, place: Place, view: View) -> tuple[Finding, ...]:
        """Findings at or above the floor, best first; EngineFault for nonsense.

        Box overshoot beyond the picture is clipped; a box that lies wholly in the letterbox's padding shows
        nothing of the part and is dropped.
        """
        if rows.ndim != 2 or rows.shape[1] != _ROW_WORDS:
            raise EngineFault(f"the engine returned a table of shape {rows.shape}, not (N, {_ROW_WORDS})")
        if not len(rows):
            return ()
        # numpy's extremes are NaN as soon as one number is, so they are finite only when all numbers are
        if not (math.isfinite(rows.max()) and math.isfinite(rows.min())):
            raise EngineFault("the engine returned numbers that are not finite")
        scores = rows[:, 4].tolist()
        worst, best = min(scores), max(scores)
        if worst < -_SCORE_SLACK or best > 1 + _SCORE_SLACK:
            raise EngineFault(f"the engine returned a score outside 0..1 ({worst:g}..{best:g})")
        if best < self._floor:
            return ()
        kept = sorted((-score, i) for i, score in enumerate(scores) if score >= self._floor)
        found = [self._finding(rows[i].tolist(), place, view) for _, i in kept]
        return tuple([finding for finding in found if finding is not None])

    def _finding(self, row: list[float], place: Place, view: View) -> Finding | None:
        """One row; None when it shows nothing of the part."""
        x0, y0, x1, y1, score, number = row
        defect_class = self._class_of(number)
        if x1 <= x0 or y1 <= y0:
            raise EngineFault("the engine returned a box whose corners are exchanged")
        # a regression head may overshoot the border; a whole picture away is not overshoot
        far_x, far_y = place.width_px, place.height_px
        if x0 < -far_x or x1 > 2 * far_x or y0 < -far_y or y1 > 2 * far_y:
            raise EngineFault("the engine returned a box far outside the picture")
        x0, y0, x1, y1 = place.to_source((x0, y0, x1, y1))
        if x1 <= x0 or y1 <= y0:
            if place.identity:
                raise EngineFault("the engine returned a box outside the picture")
            return None
        dx, dy = view.x_px, view.y_px
        return Finding(
            defect_class=defect_class,
            score=min(1.0, score),
            box=Box(x0_px=x0 + dx, y0_px=y0 + dy, x1_px=x1 + dx, y1_px=y1 + dy),
            camera=view.camera,
        )

    def _class_of(self, number: float) -> str:
        nearest = round(number)
        if abs(number - nearest) > _CLASS_SLACK or not 0 <= nearest < len(self.classes):
            raise EngineFault(f"the engine returned class {number:g} of {len(self.classes)}")
        return self.classes[nearest]


def _checked(values: np.ndarray) -> float:
    """The highest value; EngineFault when one is not finite or not a score."""
    best, worst = float(values.max()), float(values.min())
    if not (math.isfinite(best) and math.isfinite(worst)):
        raise EngineFault("the engine returned numbers that are not finite")
    if worst < -_SCORE_SLACK or best > 1 + _SCORE_SLACK:
        raise EngineFault(f"the engine returned a score outside 0..1 ({worst:g}..{best:g})")
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class MapDecoder:
    """maps_nchw: one map of scores a class, (classes, h, w) over the whole input.

    Each connected region above the floor is a finding. Its score is the region's highest value, its box holds
    the pixels of at least half that: a floor far below the limit must not blow boxes up.
    """

    classes: tuple[str, ...]
    floor_score: float

    def decode(self, table: np.ndarray, place: Place, view: View) -> tuple[Finding, ...]:
        """Findings of all classes; what lies in the letterbox's padding shows nothing of the part."""
        if table.ndim != 3 or len(table) != len(self.classes) or not table.size:
            raise EngineFault(
                f"the engine returned maps of shape {table.shape} for {len(self.classes)} classes"
            )
        floor = float(np.float32(self.floor_score))  # as precise as the scores
        if _checked(table) < floor:
            return ()
        per_x, per_y = place.width_px / table.shape[2], place.height_px / table.shape[1]
        lines, columns = cells_of(place, table.shape[1:])
        found: list[Finding] = []
        for name, scores in zip(self.classes, table, strict=True):
            inside = np.ascontiguousarray(scores[lines, columns])
            for score, cells in _regions(inside, floor):
                x0, y0 = (cells[0] + columns.start) * per_x, (cells[1] + lines.start) * per_y
                x1, y1 = (cells[2] + columns.start) * per_x, (cells[3] + lines.start) * per_y
                x0, y0, x1, y1 = place.to_source((x0, y0, x1, y1))
                if x1 > x0 and y1 > y0:
                    dx, dy = view.x_px, view.y_px
                    box = Box(x0_px=x0 + dx, y0_px=y0 + dy, x1_px=x1 + dx, y1_px=y1 + dy)
                    found.append(Finding(defect_class=name, score=min(1.0, score), box=box, camera=view.camera))
        return tuple(sorted(found, key=lambda finding: -finding.score))


def cells_of(place: Place, cells: tuple[int, ...]) -> tuple[slice, slice]:
    """Lines and columns of a map of so many cells (h, w) that show the picture; the rest is padding."""
    per_x, per_y = place.width_px / cells[1], place.height_px / cells[0]
    (left, top), (width_px, height_px) = place.offset_px, place.inner_px
    lines = slice(int(top / per_y), math.ceil((top + height_px) / per_y))
    return lines, slice(int(left / per_x), math.ceil((left + width_px) / per_x))


def _regions(scores: np.ndarray, floor: float) -> list[tuple[float, tuple[int, int, int, int]]]:
    """(highest value, half-open cell box) of each connected region at or above the floor, best first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (scores >= floor).astype(np.uint8), connectivity=8
    )
    regions = []
    for number in range(1, count):
        x, y, width, height = (int(v) for v in stats[number, :4])
        window = (slice(y, y + height), slice(x, x + width))
        values = np.where(labels[window] == number, scores[window], 0.0)
        best = float(values.max())
        rows, columns = np.nonzero(values >= best / 2)
        corners = (x + columns.min(), y + rows.min(), x + columns.max() + 1, y + rows.max() + 1)
        regions.append((best, tuple(int(v) for v in corners)))
    return sorted(regions, key=lambda region: -region[0])[:_MOST_REGIONS]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreDecoder:
    """scores_nc: one score a class for the whole picture, (classes,)."""

    classes: tuple[str, ...]
    floor_score: float

    def decode(self, table: np.ndarray, place: Place, view: View) -> tuple[Finding, ...]:
        """One finding a class at or above the floor, over the whole picture."""
        del place
        if table.shape != (len(self.classes),):
            raise EngineFault(
                f"the engine returned scores of shape {table.shape} for {len(self.classes)} classes"
            )
        _checked(table)
        floor = float(np.float32(self.floor_score))  # as precise as the scores
        height_px, width_px = view.pixels.shape[:2]
        box = Box(x0_px=view.x_px, y0_px=view.y_px, x1_px=view.x_px + width_px, y1_px=view.y_px + height_px)
        found = [
            Finding(defect_class=name, score=min(1.0, score), box=box, camera=view.camera)
            for name, score in zip(self.classes, table.tolist(), strict=True)
            if score >= floor
        ]
        return tuple(sorted(found, key=lambda finding: -finding.score))


def decoder_for(card: Card) -> Decoder:
    """The decoder of a card's output kind."""
    decoders = {"boxes_n6": RowDecoder, "maps_nchw": MapDecoder, "scores_nc": ScoreDecoder}
    return decoders[card.output.kind](classes=tuple(card.classes), floor_score=card.floor_score)


class Letterboxes:
    """One `Letterbox` for each size of view, made once: the hot path must not build them."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._size = (width_px, height_px)
        self._made: dict[tuple[int, ...], Letterbox] = {}

    def of(self, pixels: np.ndarray) -> Letterbox:
        """The letterbox from this picture's size to the network's."""
        size = pixels.shape[:2]
        box = self._made.get(size)
        if box is None:
            width_px, height_px = self._size
            box = self._made[size] = Letterbox(
                source_width_px=size[1], source_height_px=size[0], width_px=width_px, height_px=height_px
            )
        return box


class Placing:
    """Prepares views as the bundle's card says and lays them into the network's input."""

    def __init__(self, bundle: Bundle) -> None:
        card = bundle.card
        self._steps = card.prepare
        self._boxes = Letterboxes(card.input.width_px, card.input.height_px)
        self._reference: np.ndarray | None = None
        if bundle.reference is not None:
            picture = cv2.imdecode(np.frombuffer(bundle.reference, np.uint8), cv2.IMREAD_GRAYSCALE)
            if picture is None:
                raise StationFault(
                    f"The reference picture of {bundle.path} cannot be read: make the bundle again."
                )
            self._reference = picture
        # three planes from one grey picture: the network's input is no longer as grey as the camera
        self.makes_planes = takes_reference(card.prepare)

    def put(self, view: View, channels: int, out: np.ndarray) -> Place:
        """Write the prepared, letterboxed view into `out` (h, w) or (h, w, 3); say how it lies there.

        Raises PICTURE_ERRORS when the view is no picture or a step cannot do its work.
        """
        if not self._steps:
            box = self._boxes.of(view.pixels)
            box.apply(with_channels(view.pixels, channels), out)
            return box
        reference = view.reference if view.reference is not None else self._reference
        prepared = prepare(view.pixels, self._steps, reference)
        box = self._boxes.of(prepared.pixels)
        box.apply(with_channels(prepared.pixels, channels), out)
        height_px, width_px = view.pixels.shape[:2]
        return Placement(box=box, back=prepared.back, source_px=(width_px, height_px))
