# SPDX-License-Identifier: AGPL-3.0-or-later
"""Golden template: a detector that needs no training, for prints and boards that never vary.

`gatesight template --reference PICTURE --good DIR|COCO --out DIR [--tolerance PX] [--search PX]`
`gatesight template --good COCO --out DIR`   (each picture's own template_file is its reference)

A picture is laid over its reference; a pixel differs by as much as it is brighter than everything within
`tolerance` pixels of that place in the reference, or darker. The differences are averaged over a small window,
and d / (d + t) is the score: 0.5 at the limit t. It all happens in one ONNX graph, so the station needs no code
for it. The limit comes from the good pictures; what is missed is unknown until defects are shown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from datasets.labels import LabelledSet, Picture
from inspection.pixels import Letterbox
from inspection.prepare import Reference
from inspection.statistics import upper_bound
from inspection.types import StationFault
from training.anomaly.goods import good_pictures
from training.answers import questions_of
from training.code import code_commit
from training.engine import unsigned_bundle
from training.parity import prove_parity
from training.part_level import recipe_from_limits
from training.pictures import prepared_picture, read_picture
from training.sets import described
from weights.bundle import write_bundle
from weights.card import parse_card
from weights.keys import default_key_dir
from weights.signing import station_key

OPSET = 18
WINDOW_PX = 5  # differences are averaged over this square
PARITY_PICTURES = 24
STRIDE_PX = 4  # of the map that comes out; each cell holds the highest difference below it
LEAST_DIFFERENCE = 0.02
"""Limit where the good pictures show no difference at all: 5 of 255 grey levels over the whole window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the graph is made of. Sizes in pixels of the input, which is as large as the reference."""

    width_px: int
    height_px: int
    tolerance_px: int
    limit: float  # difference, 0..1, at which the score is 0.5


def template_model(settings: Settings) -> bytes:
    """The ONNX graph: planes (1, 3, h, w) -> map (1, 1, h / 4, w / 4), all 0..1. ValueError for bad sizes."""
    reach = settings.tolerance_px
    around: dict[str, Any] = {"kernel_shape": [2 * reach + 1] * 2, "pads": [reach] * 4, "strides": [1, 1]}
    half = WINDOW_PX // 2
    window: dict[str, Any] = {"kernel_shape": [WINDOW_PX] * 2, "pads": [half] * 4, "strides": [1, 1]}
    node = helper.make_node
    nodes = [
        node("Split", ["images"], ["picture", "reference", "difference"], axis=1, num_outputs=3),
        node("MaxPool", ["reference"], ["highest"], **around),
        node("Neg", ["reference"], ["negative"]),
        node("MaxPool", ["negative"], ["minus_lowest"], **around),
        node("Sub", ["picture", "highest"], ["over"]),
        node("Relu", ["over"], ["brighter"]),
        # lowest - picture
        node("Add", ["minus_lowest", "picture"], ["above_lowest"]),
        node("Neg", ["above_lowest"], ["under"]),
        node("Relu", ["under"], ["darker"]),
        node("Add", ["brighter", "darker"], ["differs"]),
        node("AveragePool", ["differs"], ["mean"], count_include_pad=0, **window),
        node("MaxPool", ["mean"], ["cells"], kernel_shape=[STRIDE_PX] * 2, strides=[STRIDE_PX] * 2),
        node("Add", ["cells", "limit"], ["scale"]),
        node("Div", ["cells", "scale"], ["output0"]),
    ]
    width_px, height_px = settings.width_px, settings.height_px
    if width_px % STRIDE_PX or height_px % STRIDE_PX:
        raise ValueError(f"the input must be a multiple of {STRIDE_PX} px, not {width_px} x {height_px}")
    cells = [1, 1, height_px // STRIDE_PX, width_px // STRIDE_PX]
    graph = helper.make_graph(
        nodes,
        "golden_template",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height_px, width_px])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, cells)],
        [numpy_helper.from_array(np.array(settings.limit, np.float32), "limit")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model.SerializeToString()


def difference(planes: np.ndarray, tolerance_px: int) -> float:
    """The highest windowed difference of one prepared picture, uint8 (h, w, 3), as the graph computes it."""
    picture, reference = (planes[..., n].astype(np.float32) / 255 for n in (0, 1))
    return float(_windowed(picture, reference, tolerance_px).max())


def plain_answer(planes: np.ndarray, settings: Settings) -> np.ndarray:
    """The map that the graph must give, in plain arithmetic: (1, 3, h, w) in 0..1 to (1, 1, h / 4, w / 4)."""
    windowed = _windowed(planes[0, 0], planes[0, 1], settings.tolerance_px)
    height_px, width_px = windowed.shape
    cells = windowed.reshape(height_px // STRIDE_PX, STRIDE_PX, width_px // STRIDE_PX, STRIDE_PX).max((1, 3))
    return (cells / (cells + np.float32(settings.limit)))[None, None]


def _windowed(picture: np.ndarray, reference: np.ndarray, tolerance_px: int) -> np.ndarray:
    """Differences of two float32 planes, averaged over the window."""
    kernel = np.ones((2 * tolerance_px + 1,) * 2, np.uint8)
    over = np.maximum(picture - cv2.dilate(reference, kernel), 0)
    under = np.maximum(cv2.erode(reference, kernel) - picture, 0)
    ones = np.ones_like(picture)
    size = (WINDOW_PX, WINDOW_PX)
    total = cv2.boxFilter(over + under, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    count = cv2.boxFilter(ones, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return total / count


def choose_limit(good: Sequence[float]) -> tuple[float, int]:
    """A quarter above the highest good difference, one in a hundred spared; how many good parts that rejects.

    They are counted one at a time, each against the limit that the others give: the limit has seen them all.
    """
    values = sorted(good)
    return _limit(values), sum(value >= _limit(values[:n] + values[n + 1 :]) for n, value in enumerate(values))


def _limit(highest: Sequence[float]) -> float:
    spared = highest[: max(1, len(highest) - len(highest) // 100)]
    return max(LEAST_DIFFERENCE, 1.25 * spared[-1]) if spared else LEAST_DIFFERENCE


def compared_pictures(source: Path, reference: Path | None) -> tuple[Picture, ...]:
    """Good pictures of a folder or a COCO file, each with its reference. StationFault when there are none."""
    if reference is None and source.is_dir():
        raise StationFault(f"{source} is a folder: name the --reference that its pictures are compared with")
    pictures = good_pictures(source)
    if reference is not None:
        pictures = tuple(
            replace(picture, template=reference)
            for picture in pictures
            if picture.path.resolve() != reference.resolve()
        )
    if not pictures:
        raise StationFault(f"{source} holds no good pictures but the reference: add some to set the limit by")
    lacking = next((picture for picture in pictures if picture.template is None), None)
    if lacking is not None:
        raise StationFault(f"{source}: {lacking.name} has no template_file; name one, or give --reference")
    return pictures


def teach_template(given: argparse.Namespace) -> dict[str, Any]:
    """Set the limit and write the signed bundle; the figures that a person needs."""
    pictures = compared_pictures(given.good, given.reference)
    step = Reference(search_px=given.search)
    width_px, height_px = (
        (n + STRIDE_PX - 1) // STRIDE_PX * STRIDE_PX for n in _one_size(pictures, given.good)
    )
    values = []
    for picture in pictures:
        planes = prepared_picture(picture, 3, (step,)).pixels
        frame = Letterbox(
            source_width_px=planes.shape[1],
            source_height_px=planes.shape[0],
            width_px=width_px,
            height_px=height_px,
        )
        values.append(difference(frame.apply(planes), given.tolerance))
    limit, above = choose_limit(values)
    settings = Settings(width_px=width_px, height_px=height_px, tolerance_px=given.tolerance, limit=limit)
    overkill = {
        "good": len(values),
        "rejected_by_the_others_limit": above,
        "overkill_upper_95": upper_bound(above, len(values)),
        "misses": "unknown until defects are shown",
    }
    labelled = LabelledSet(classes=("difference",), pictures=pictures, source=given.good)
    training = {
        "method": "golden template",
        "tolerance_px": given.tolerance,
        "limit": limit,
        "code_commit": code_commit(),
    }
    card = {
        "name": given.name,
        "licence": "AGPL-3.0-or-later",
        "summary": "Golden template: the difference to a reference picture.",
        "task": "anomaly",
        "prepare": [{"kind": "reference", "search_px": given.search}],
        "input": {"width_px": width_px, "height_px": height_px, "channels": 3},
        "output": {"kind": "maps_nchw"},
        "classes": ["difference"],
        "floor_score": 0.25,
        "data": {"good": described(labelled)},
        "training": training,
        "metrics": {"teaching": overkill},
    }
    recipe = {
        "name": given.name,
        "version": 1,
        "id": 1,
        "views": [{"name": "view"}],
        "classes": {"difference": {"min_score": 0.5}},
        "default_limit": {"min_score": 0.5},
    }
    reference = None
    if given.reference is not None:
        reference = cv2.imencode(".png", read_picture(given.reference, 1))[1].tobytes()
    model = template_model(settings)
    training["parity"] = _proven(model, card, settings, labelled, reference)
    sha256 = write_bundle(
        given.out / "bundle",
        model=model,
        card=card,
        key=station_key(given.key_dir or default_key_dir()),
        recipe=recipe,
        reference=reference,
    )
    return {"bundle": str(given.out / "bundle"), "sha256": sha256, "limit": limit, **overkill}


def _proven(
    model: bytes, card: dict[str, Any], settings: Settings, good: LabelledSet, reference: bytes | None
) -> dict[str, Any]:
    """The graph in the station's engine against plain arithmetic; StationFault when one verdict flips."""
    source = good.source / "model.onnx"
    bundle = unsigned_bundle(
        model, parse_card(json.dumps(card).encode(), "the template's card"), source, reference=reference
    )
    return prove_parity(
        lambda planes: plain_answer(planes, settings),
        bundle,
        recipe_from_limits({"difference": 0.5}),
        questions_of(good)[:PARITY_PICTURES],
    )


def _one_size(pictures: Sequence[Picture], source: Path) -> tuple[int, int]:
    sizes = {(picture.width_px, picture.height_px) for picture in pictures}
    if len(sizes) > 1:
        raise StationFault(
            f"{source} holds pictures of {len(sizes)} sizes: a template needs one place and one size"
        )
    return next(iter(sizes))


def main(argv: list[str] | None = None) -> int:
    """Make one bundle; 0, or 3 for bad input."""
    parser = argparse.ArgumentParser(
        prog="gatesight template",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--good", type=Path, required=True, help="folder or COCO file of good pictures")
    parser.add_argument("--reference", type=Path, help="the golden picture; else each picture's template_file")
    parser.add_argument("--out", type=Path, required=True, help="the bundle appears at OUT/bundle")
    parser.add_argument("--tolerance", type=int, default=1, help="px that an edge may lie elsewhere")
    parser.add_argument("--search", type=int, default=0, help="px that a whole picture may be shifted")
    parser.add_argument("--name", default="golden-template")
    parser.add_argument("--key-dir", type=Path, help="folder of the signing key")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(argv)
    try:
        if not 0 <= given.tolerance <= 16:
            raise StationFault(f"--tolerance {given.tolerance}: choose 0 to 16 px")
        result = teach_template(given)
    except StationFault as fault:
        if given.json:
            sys.stdout.write(json.dumps({"ok": False, "error": str(fault)}) + "\n")
        sys.stderr.write(f"gatesight template: {fault}\n")
        return 3
    rejected = result["rejected_by_the_others_limit"]
    text = (
        f"{result['bundle']}: {rejected} of {result['good']} good pictures differ more than the others allow "
        f"(overkill at most {result['overkill_upper_95']:.1%}); misses are {result['misses']}"
    )
    if given.json:
        text = json.dumps({"ok": True, **result})
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
