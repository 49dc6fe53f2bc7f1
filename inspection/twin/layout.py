# SPDX-License-Identifier: AGPL-3.0-or-later
"""The simulated line on paper: geometry that keeps the contract's arithmetic, and the files that describe it.

Writes station.toml and recipe.json for the station, and the plans of PLC, painter and camera side. The station
gets nothing but its configuration file, like any other.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from inspection.twin.belt import BeltPlan
from inspection.twin.stamp import STRIP_HEIGHT_PX
from inspection.types import StationFault

POLL_MS = 10
SCAN_MS = 10
ACTUATION_MS = 20
JITTER_MARGIN_MS = 10
SPARE_MS = 30
GATE_WINDOW_MM = 20.0
PULSES_PER_MM = 20.0
MIN_PITCH_SHARE = 0.7
PARTS_IN_FLIGHT = 15  # what a verdict ring of 16 is sure to hold
_AHEAD_S = 2.0
_AHEAD_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LineOptions:
    """What a person may choose of the simulated line."""

    parts: int | None = None
    rate_parts_per_s: float = 5.0
    views: int = 2
    seed: int = 1
    coco: Path | None = None
    bundle: Path
    trusted: tuple[Path, ...] = ()
    drop_share: float = 0.0
    skip_share: float = 0.0
    deadline_ms: float = 280.0
    # software: the station fires the cameras; what they see changes with each part that breaks the beam
    trigger: Literal["line", "software"] = "line"
    engine: str = "openvino"
    engine_script: Path | None = None
    modbus_port: int = 0
    console_port: int = 8000
    reviews: Path | None = None  # dataset home by which the station watches its promoted bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameShape:
    """Size of a frame, stamp strip included, and whether it carries colour."""

    width_px: int
    height_px: int
    colour: bool = False

    @property
    def array(self) -> tuple[int, ...]:
        """Shape of a frame as an array."""
        return (self.height_px, self.width_px, 3) if self.colour else (self.height_px, self.width_px)


def deadline_ms(options: LineOptions) -> float:
    """The wanted deadline, or less where parts come so fast that too many would be in flight."""
    fastest = options.rate_parts_per_s * 1.02 / MIN_PITCH_SHARE
    return min(options.deadline_ms, math.floor((PARTS_IN_FLIGHT - 0.1) / fastest * 1000) - POLL_MS)


def belt_plan(options: LineOptions) -> BeltPlan:
    """A belt on which every verdict that keeps its deadline reaches the gate in time."""
    rate = options.rate_parts_per_s
    pitch_mm = min(100.0, 2000.0 / rate)
    max_speed = rate * pitch_mm * 1.02
    needed_ms = deadline_ms(options) + 2 * POLL_MS + 2 * SCAN_MS + ACTUATION_MS + JITTER_MARGIN_MS + SPARE_MS
    return BeltPlan(
        seed=options.seed,
        rate_parts_per_s=rate,
        pitch_mm=pitch_mm,
        min_pitch_mm=MIN_PITCH_SHARE * pitch_mm,
        travel_mm=math.ceil(max_speed * needed_ms / 1000 + GATE_WINDOW_MM / 2),
        pulses_per_mm=PULSES_PER_MM,
        gate_window_mm=GATE_WINDOW_MM,
        ripple_share=0.02,
    )


def serials(views: int) -> list[str]:
    """Serial numbers of the simulated cameras."""
    return [f"LS{i + 1:04d}" for i in range(views)]


def station_toml(options: LineOptions, frame: FrameShape, data_dir: Path, modbus_port: int) -> str:
    """station.toml of the simulated station."""
    belt = belt_plan(options)
    trusted = ", ".join(json.dumps(str(p)) for p in options.trusted)
    script = "" if options.engine_script is None else f"script = {json.dumps(str(options.engine_script))}\n"
    watch = (
        ""
        if options.reviews is None
        else f"""
[watch]
dataset = {json.dumps(str(options.reviews))}
look_s = 0.5
"""
    )
    view = [0, 0, frame.width_px, frame.height_px - STRIP_HEIGHT_PX]
    strip = [0, frame.height_px - STRIP_HEIGHT_PX, frame.width_px, STRIP_HEIGHT_PX]
    cameras = "".join(
        f'\n[[camera]]\nserial = "{serial}"\nproducer = "linesim"\n'
        f"width_px = {frame.width_px}\nheight_px = {frame.height_px}\n"
        f'pixel_format = "{"RGB8" if frame.colour else "Mono8"}"\nview_px = {view}\nstrip_px = {strip}\n'
        f'trigger = "{options.trigger}"\nsettings = [["ExposureTime", 500.0]]\n'
        for serial in serials(options.views)
    )
    return f"""# Written by the demo for its simulated line; written anew at its next start.
[station]
name = "simulated line"
data_dir = {json.dumps(str(data_dir))}
recipe = "recipe.json"
bundle = {json.dumps(str(options.bundle))}
trusted = [{trusted}]
simulated = true

[line]
pulses_per_mm = {belt.pulses_per_mm}
min_pitch_mm = {belt.min_pitch_mm:.3f}
max_speed_mm_s = {belt.max_speed_mm_s:.3f}
travel_mm = {belt.travel_mm}
gate_window_mm = {belt.gate_window_mm}
gate_actuation_ms = {ACTUATION_MS}
jitter_margin_ms = {JITTER_MARGIN_MS}
plc_poll_ms = {POLL_MS}
plc_scan_ms = {SCAN_MS}
deadline_ms = {deadline_ms(options):g}

[modbus]
port = {modbus_port}

[engine]
kind = "{options.engine}"
threads = {min(2, os.cpu_count() or 1)}
{script}
[records]
min_free_mb = 200
keep_mb = 4000

[console]
port = {options.console_port}
{watch}{cameras}"""


def recipe_json(suggested: bytes | None, views: int, source: str) -> str:
    """The bundle's suggested recipe with as many views as the line has, or a plain one where it has none."""
    if suggested is None:
        recipe: dict[str, Any] = {"name": "demo", "version": 1, "id": 1, "views": [{"name": "view"}]}
        recipe["default_limit"] = {"min_score": 0.5}
    else:
        try:
            recipe = json.loads(suggested)
            recipe["views"][0]["name"]
        except (ValueError, KeyError, IndexError, TypeError) as e:
            raise StationFault(f"{source}: recipe.json is not a recipe ({e}): use another bundle.") from e
    known = recipe["views"]
    recipe["views"] = [
        known[i] if i < len(known) else {**known[i % len(known)], "name": f"view {i + 1}"} for i in range(views)
    ]
    return json.dumps(recipe, indent=2) + "\n"


def plc_plan(options: LineOptions, modbus_port: int) -> dict[str, Any]:
    """What the PLC process is told."""
    belt = belt_plan(options)
    return {
        "host": "127.0.0.1",
        "port": modbus_port,
        "scan_ms": SCAN_MS,
        "belt": asdict(belt),
        "plc": {
            "parts": options.parts,
            "skip_share": options.skip_share,
            "seed": options.seed,
            "gate_actuation_ns": ACTUATION_MS * 1_000_000,
            "speed_mm_s": round(belt.speed_mm_s),
            "first_seq": 1,
        },
    }


def camera_plan(options: LineOptions, frame: FrameShape, shared_dir: Path) -> dict[str, Any]:
    """What painter and camera side are told."""
    part_bytes = math.prod(frame.array) * options.views
    depth = min(math.ceil(_AHEAD_S * options.rate_parts_per_s) + 4, max(2, _AHEAD_BYTES // part_bytes), 1000)
    return {
        "coco": None if options.coco is None else str(options.coco),
        "seed": options.seed,
        "views": options.views,
        "colour": frame.colour,
        "shape": list(frame.array),
        "parts": options.parts,
        "drop_share": options.drop_share,
        "depth": depth,
        "buffer": str(shared_dir / "ahead"),
        "feed_dir": str(shared_dir),
        "serials": serials(options.views),
        "belt": asdict(belt_plan(options)),
    }
