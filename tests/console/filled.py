# SPDX-License-Identifier: AGPL-3.0-or-later
"""A station's traces without a station: configuration, records, pictures, board and previews.

`python -m tests.console.filled DIR --parts 400` fills DIR; with `--go` it goes on at ten parts a second, so
that the live page can be worked on without cameras or PLC. The shared-memory folder is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
from sqlalchemy import Connection, Engine, Insert, insert, update

from inspection.board import (
    Board,
    CameraCounter,
    GateCounter,
    InspectorCounter,
    ProcessState,
    RecorderCounter,
)
from inspection.config import StationConfig, load_config
from inspection.records import schema as t
from inspection.records.database import open_writer
from inspection.storage.images import ImageStore
from inspection.twin.renderer import PartRenderer
from inspection.types import StationState

EPOCH = 41873
DEADLINE_MS = 250.0
_MS = 1_000_000
_TOML = """
[station]
name = "Flange line 2"
data_dir = "{data_dir}"
recipe = "recipe.json"
bundle = "bundle"
simulated = true

[line]
pulses_per_mm = 10
min_pitch_mm = 60
max_speed_mm_s = 1000
travel_mm = 500
gate_window_mm = 40
deadline_ms = 250

[[camera]]
serial = "LINESIM-0"
width_px = 320
height_px = 336
view_px = [0, 0, 320, 320]
strip_px = [0, 320, 320, 16]

[[camera]]
serial = "LINESIM-1"
width_px = 320
height_px = 336
view_px = [0, 0, 320, 320]
strip_px = [0, 320, 320, 16]
"""
BUNDLE_SHA256 = "5f1c" * 16
RECIPE_SHA256 = "a90e" * 16
CHANCES = (
    ("frame_missing", 0.004),
    ("trigger_missed", 0.003),
    ("deadline_missed", 0.002),
    ("pitch_too_small", 0.001),
)


class FilledStation:
    """The traces of one station under `root`. `close` removes what lies in shared memory."""

    def __init__(self, root: Path, *, seed: int = 7) -> None:
        self.config_path = root / "station.toml"
        self.config_path.write_text(_TOML.format(data_dir=root / "data"))
        self.config: StationConfig = load_config(self.config_path)
        self.images = ImageStore(self.config.images_dir)
        self.ordinal = 0
        self.board: Board | None = None
        self.engine: Engine = open_writer(self.config.records_db)
        self._random = random.Random(seed)
        self._renderer = PartRenderer(seed=seed, views=2)
        self._counts = {"pass": 0, "reject": 0, "not_inspected": 0}
        with self.engine.begin() as connection:
            run = insert(t.runs).values(
                journal_index=0,
                epoch=EPOCH,
                started_utc_ns=time.time_ns(),
                station="Flange line 2",
                recipe_sha256=RECIPE_SHA256,
                bundle_sha256=BUNDLE_SHA256,
            )
            self.run_id = _new_id(connection, run)

    def start(self) -> None:
        """The board of a running, armed station."""
        shutil.rmtree(self.config.shm_dir, ignore_errors=True)
        self.config.previews_dir.mkdir(parents=True)
        self.board = Board.create(self.config.board_path, self.config.board_rows())
        for name in self.board.names:
            self.board.row(name).claim(ProcessState.READY)
        gate = self.board.row("gate")
        gate.set(GateCounter.EPOCH, EPOCH)
        gate.set(GateCounter.ARMED, 1)
        gate.set(GateCounter.PLC_ALIVE, 1)
        gate.set(GateCounter.MODBUS_PORT, 1502)
        gate.set(GateCounter.STATION_STATE, StationState.CONTINUOUS_EXECUTION)

    def beat(self) -> None:
        """Every process says that it is alive."""
        assert self.board is not None
        for name in self.board.names:
            self.board.row(name).beat()

    def fill(self, parts: int, every_ms: float = 100.0) -> None:
        """Parts that came before now."""
        now_ns = time.time_ns()
        for i in range(parts):
            self.part(utc_ns=now_ns - int((parts - i) * every_ms * _MS), previews=i == parts - 1)

    def part(self, *, utc_ns: int | None = None, previews: bool = True) -> int:
        """One more part; its id in the records."""
        self.ordinal += 1
        utc_ns = time.time_ns() if utc_ns is None else utc_ns
        truth = self._renderer.truth(self.ordinal)
        lost = self._chance_of_loss()
        seen = [] if lost else [d for d in truth.defects if d.detectability > 8]
        findings = [self._finding(d) for d in seen]
        rejected_by = sorted({str(f["defect_class"]) for f in findings if float(str(f["score"])) > 0.5})
        outcome = "not_inspected" if lost else "reject" if rejected_by else "pass"
        self._counts[outcome] += 1
        reason = lost or ("defect" if rejected_by else "none")
        part_id = self._insert_part(outcome, reason, rejected_by, utc_ns)
        if reason != "trigger_missed":
            self._insert_views(part_id, outcome, findings)
            if previews and self.board is not None:
                self._write_previews(outcome, reason, findings)
        if self.board is not None:
            self._count()
        return part_id

    def _chance_of_loss(self) -> str | None:
        draw = self._random.random()
        for reason, share in CHANCES:
            if draw < share:
                return reason
            draw -= share
        return None

    def _finding(self, defect: object) -> dict[str, object]:
        box = defect.box  # type: ignore[attr-defined]
        jitter = [self._random.uniform(-1.5, 1.5) for _ in range(4)]
        return {
            "camera": defect.view,  # type: ignore[attr-defined]
            "defect_class": str(defect.kind),  # type: ignore[attr-defined]
            "score": round(self._random.uniform(0.42, 0.98), 3),
            "x0": max(0.0, box.x0_px + jitter[0]),
            "y0": max(0.0, box.y0_px + jitter[1]),
            "x1": box.x1_px + jitter[2],
            "y1": box.y1_px + jitter[3],
        }

    def _insert_part(self, outcome: str, reason: str, rejected_by: list[str], utc_ns: int) -> int:
        trigger = 10**15 + self.ordinal * 100 * _MS
        ready = trigger + int(self._random.gauss(24, 2) * _MS)
        judged = ready + int((18 + self._random.expovariate(1 / 7)) * _MS)
        published = judged + int(self._random.uniform(1.5, 5) * _MS)
        if reason in {"frame_missing", "deadline_missed"}:
            ready, judged, published = None, None, trigger + int(DEADLINE_MS * _MS) - 2 * _MS
        elif reason in {"trigger_missed", "pitch_too_small"}:
            ready, judged, published = None, None, trigger + 3 * _MS
        values = {
            "run_id": self.run_id,
            "epoch": EPOCH,
            "ordinal": self.ordinal,
            "seq": (self.ordinal - 1) % 65535 + 1,
            "encoder": 1_000_000 + self.ordinal * 1000,
            "trigger_utc_ns": utc_ns,
            "outcome": outcome,
            "reason": reason,
            "rejected_by": json.dumps(rejected_by),
            "trigger_ns": trigger,
            "deadline_ns": trigger + int(DEADLINE_MS * _MS),
            "ready_ns": ready,
            "judged_ns": judged,
            "closed_ns": published,
            "published_ns": published,
            "recipe_sha256": RECIPE_SHA256,
            "bundle_sha256": BUNDLE_SHA256,
            "disposition": 1 if outcome == "pass" else 2,
        }
        with self.engine.begin() as connection:
            return _new_id(connection, insert(t.parts).values(**values))

    def _insert_views(self, part_id: int, outcome: str, findings: list[dict[str, object]]) -> None:
        kept = outcome != "pass" or self.ordinal % 4 == 0
        with self.engine.begin() as connection:
            for camera, entry in enumerate(self.config.camera):
                digest = self.images.put(self.jpeg(camera), "jpg") if kept else None
                picture = (
                    {"image_sha256": digest, "image_type": "jpg", "width": 320, "height": 336} if kept else {}
                )
                connection.execute(
                    insert(t.views).values(
                        part_id=part_id,
                        camera=camera,
                        serial=entry.serial,
                        frame_id=self.ordinal,
                        encoder=1_000_000 + self.ordinal * 1000,
                        exposure_ns=1,
                        **picture,
                    )
                )
            if findings:
                connection.execute(insert(t.findings), [{"part_id": part_id, **f} for f in findings])

    def jpeg(self, camera: int) -> bytes:
        """The present part's picture."""
        frame: np.ndarray = self._renderer.render(self.ordinal, camera)
        ok, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert ok
        return data.tobytes()

    def _write_previews(self, outcome: str, reason: str, findings: list[dict[str, object]]) -> None:
        for camera, entry in enumerate(self.config.camera):
            facts = {
                "epoch": EPOCH,
                "ordinal": self.ordinal,
                "seq": (self.ordinal - 1) % 65535 + 1,
                "outcome": outcome,
                "reason": reason,
                "findings": [_as_recorder_writes(f) for f in findings if f["camera"] == camera],
                "width": 320,
                "height": 336,
                "utc_ns": time.time_ns(),
            }
            for suffix, data in ((".jpg", self.jpeg(camera)), (".json", json.dumps(facts).encode())):
                path = self.config.previews_dir / f"{entry.serial}{suffix}"
                temp = path.with_name(path.name + ".new")
                temp.write_bytes(data)
                temp.rename(path)

    def _count(self) -> None:
        assert self.board is not None
        gate = self.board.row("gate")
        gate.set(GateCounter.TRIGGERS, self.ordinal)
        gate.set(GateCounter.PASS, self._counts["pass"])
        gate.set(GateCounter.REJECT, self._counts["reject"])
        gate.set(GateCounter.NOT_INSPECTED, self._counts["not_inspected"])
        gate.set(GateCounter.JOURNAL_RECORDS, 2 * self.ordinal)
        gate.set(GateCounter.JOURNAL_SYNC_NS_MAX, 3_400_000)
        for entry in self.config.camera:
            row = self.board.row(f"camera:{entry.serial}")
            row.set(CameraCounter.TRIGGERS, self.ordinal)
            row.set(CameraCounter.DELIVERED, self.ordinal)
        inspector = self.board.row("inspector")
        inspector.set(InspectorCounter.JUDGED, self.ordinal)
        inspector.set(InspectorCounter.INFERENCES, 2 * self.ordinal)
        inspector.set(InspectorCounter.ENGINE_BUSY_NS, 2 * self.ordinal * 11_300_000)
        recorder = self.board.row("recorder")
        recorder.set(RecorderCounter.IMAGES_STORED, self.ordinal)
        recorder.set(RecorderCounter.DISK_FREE_MB, 48_211)
        self.beat()

    def disturb(self, part: int, /, **values: object) -> None:
        """Write something else into a part's record."""
        with self.engine.begin() as connection:
            connection.execute(update(t.parts).where(t.parts.c.id == part).values(**values))

    def close(self) -> None:
        """Unmap, close, and remove the shared memory."""
        self.engine.dispose()
        if self.board is not None:
            self.board.close()
            self.board = None
        shutil.rmtree(self.config.shm_dir, ignore_errors=True)


def _new_id(connection: Connection, statement: Insert) -> int:
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return int(key[0])


def _as_recorder_writes(finding: dict[str, object]) -> dict[str, object]:
    return {
        "defect_class": finding["defect_class"],
        "score": finding["score"],
        "camera": finding["camera"],
        "box": {f"{name}_px": finding[name] for name in ("x0", "y0", "x1", "y1")},
    }


def main() -> None:
    """Fill a folder; with --go, go on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", type=int, default=300)
    parser.add_argument("--go", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    station = FilledStation(options.folder.resolve())
    station.start()
    try:
        station.fill(options.parts)
        print(f"filled {station.config_path}", flush=True)
        while options.go:
            station.part()
            time.sleep(0.1)
    finally:
        station.close()


if __name__ == "__main__":
    main()
