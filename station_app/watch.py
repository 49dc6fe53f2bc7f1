# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looking at the station from outside: status board, previews and newest records, a few times a second.

Read-only and best effort: whatever is missing or stale is said so, and nothing here can reach the line.
"""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from inspection.board import (
    Board,
    CameraCounter,
    GateCounter,
    InspectorCounter,
    ProcessState,
    RecorderCounter,
    Row,
)
from inspection.config import StationConfig
from inspection.types import StationFault, StationState
from station_app.facts import (
    CountsFact,
    Health,
    LatencyFact,
    Level,
    LineFact,
    PartFact,
    ProcessFact,
    StationFact,
    ThumbFact,
)
from station_app.history import History, RecordsUnavailable, RunCounts, Search
from station_app.words import STATES, process_label

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
STALE_NS = 1_500 * _NS_PER_MS
RECENT_PARTS = 300
SHOWN_REJECTS = 8
_HEALTH: dict[ProcessState, Health] = {
    ProcessState.DOWN: "down",
    ProcessState.STARTING: "starting",
    ProcessState.READY: "ready",
    ProcessState.DEGRADED: "degraded",
    ProcessState.FAULT: "fault",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Latest picture of one camera and what its sidecar says. `version` changes with the picture."""

    serial: str
    version: int
    facts: dict[str, object]
    jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at the station saw. `recent` is oldest first, `rejects` newest first."""

    station: StationFact
    previews: tuple[Preview, ...]
    recent: tuple[PartFact, ...]
    rejects: tuple[ThumbFact, ...]


class Watch:
    """Takes looks. Owned by one thread at a time."""

    def __init__(self, config: StationConfig, history: History) -> None:
        self._config = config
        self._history = history
        self._board: Board | None = None
        self._board_key: tuple[int, int] | None = None
        self._previews: dict[str, Preview] = {}
        self._recent: deque[PartFact] = deque(maxlen=RECENT_PARTS)
        self._rates: deque[tuple[int, int]] = deque()
        self._run_counts = RunCounts()
        self._rejects: tuple[ThumbFact, ...] = ()
        self._counted_ns = 0
        self._count_every_ns = 0

    def close(self) -> None:
        """Unmap the board."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def look(self) -> Look:
        """One look, now. Takes a few milliseconds; touches the disk."""
        now_ns = time.monotonic_ns()
        self._attach()
        self._read_records(now_ns)
        for camera in self._config.camera:
            self._read_preview(camera.serial)
        return Look(
            station=self._station(now_ns),
            previews=tuple(self._previews.values()),
            recent=tuple(self._recent),
            rejects=self._rejects,
        )

    def _attach(self) -> None:
        """Follow the board: a restarted supervisor makes a new one under the same name."""
        try:
            stat = self._config.board_path.stat()
        except FileNotFoundError:
            self.close()
            return
        key = (stat.st_ino, stat.st_ctime_ns)
        if self._board is not None and self._board_key is not None and key[0] == self._board_key[0]:
            return
        self.close()
        try:
            self._board = Board.attach(self._config.board_path)
            self._board_key = key
        except StationFault:
            self._board = None

    def _read_records(self, now_ns: int) -> None:
        try:
            newest = self._recent[-1].id if self._recent else 0
            fresh = self._history.newer(newest, RECENT_PARTS)
            self._recent.extend(fresh)
            rejects = self._history.page(Search(outcomes=("reject",)), size=SHOWN_REJECTS).parts
            self._rejects = tuple(self._history.thumbs(rejects))
            if now_ns - self._counted_ns > self._count_every_ns:
                self._run_counts = self._history.run_counts()
                self._counted_ns = time.monotonic_ns()
                # counting takes longer as a run grows: never more than a twentieth of the time
                self._count_every_ns = max(_NS_PER_S, 20 * (self._counted_ns - now_ns))
        except RecordsUnavailable:
            self._recent.clear()
            self._rejects = ()
            self._run_counts = RunCounts()

    def _read_preview(self, serial: str) -> None:
        """Picture and sidecar are replaced one after the other; they are read again until both are whole."""
        picture = self._config.previews_dir / f"{serial}.jpg"
        try:
            version = picture.with_suffix(".json").stat().st_mtime_ns
            known = self._previews.get(serial)
            if known is not None and known.version == version:
                return
            preview = _whole_preview(picture, serial)
        except (FileNotFoundError, json.JSONDecodeError):
            self._previews.pop(serial, None)
            return
        if preview is not None:
            self._previews[serial] = preview

    def _station(self, now_ns: int) -> StationFact:
        board = self._board
        processes = [] if board is None else [_process(board.row(name), now_ns) for name in board.names]
        line, counts = LineFact(), CountsFact()
        if board is not None:
            gate = board.row("gate")
            line, counts = _line(gate), _counts(gate)
            self._rates.append((now_ns, counts.triggers))
        level, sentence = _level(processes, line)
        if level == "down":
            line = line.model_copy(update={"armed": False, "plc_alive": False})
        closed = counts.passed + counts.rejected + counts.not_inspected
        return StationFact(
            name=self._config.station.name,
            simulated=self._config.station.simulated,
            level=level,
            sentence=sentence,
            seen_utc_ns=time.time_ns(),
            line=line,
            counts=counts,
            first_pass_yield=counts.passed / closed if closed else None,
            parts_per_s=0.0 if level == "down" else self._rate(now_ns),
            reasons=list(self._run_counts.reasons),
            defects=list(self._run_counts.defects),
            latency=self._latency(),
            processes=processes,
        )

    def _rate(self, now_ns: int, window_ns: int = 5 * _NS_PER_S) -> float:
        while self._rates and (
            now_ns - self._rates[0][0] > window_ns or self._rates[0][1] > self._rates[-1][1]
        ):
            self._rates.popleft()
        if len(self._rates) < 2:
            return 0.0
        (t0, n0), (t1, n1) = self._rates[0], self._rates[-1]
        return (n1 - n0) * _NS_PER_S / (t1 - t0) if t1 > t0 else 0.0

    def _latency(self) -> LatencyFact:
        deadline_ms = self._config.line.deadline_ms
        values = sorted(p.latency_ms for p in self._recent if p.latency_ms is not None)
        if not values:
            return LatencyFact(deadline_ms=deadline_ms)
        return LatencyFact(
            parts=len(values),
            p50_ms=values[len(values) // 2],
            p99_ms=values[min(len(values) - 1, int(len(values) * 0.99))],
            max_ms=values[-1],
            deadline_ms=deadline_ms,
        )


def _whole_preview(picture: Path, serial: str) -> Preview | None:
    """Picture and the sidecar that stood before and after it; None when they kept changing."""
    sidecar = picture.with_suffix(".json")
    for _ in range(3):
        version = sidecar.stat().st_mtime_ns
        facts = json.loads(sidecar.read_bytes())
        jpeg = picture.read_bytes()
        # The recorder writes the picture first: one that is newer than its sidecar belongs to the next part.
        if sidecar.stat().st_mtime_ns == version and picture.stat().st_mtime_ns <= version:
            return Preview(serial=serial, version=version, facts=facts, jpeg=jpeg)
    return None


def _process(row: Row, now_ns: int) -> ProcessFact:
    health = _HEALTH[row.state]
    beats = row.heartbeat_ns > 0
    age_ns = row.age_ns(now_ns)
    text = row.text
    if health in {"ready", "degraded", "starting"} and beats and age_ns > STALE_NS:
        health, text = "down", f"No sign of life for {age_ns / _NS_PER_S:.0f} s."
    return ProcessFact(
        role=row.name,
        label=process_label(row.name),
        health=health,
        text=text,
        age_ms=age_ns // _NS_PER_MS if beats else None,
        restarts=max(0, row.incarnation - 1),
        facts=_facts(row),
    )


def _facts(row: Row) -> list[tuple[str, str]]:
    """The few figures worth showing of a process."""
    if row.name.startswith("camera:"):
        c = CameraCounter
        lost = sum(row.get(x) for x in (c.RING_FULL, c.INCOMPLETE, c.UNDERRUN, c.MISSED, c.UNEXPLAINED_ID_GAP))
        return [
            ("Frames", f"{row.get(c.DELIVERED):,}"),
            ("Lost", f"{lost:,}"),
            ("Unhealthy", f"{row.get(c.UNHEALTHY):,}"),
        ]
    if row.name == "inspector":
        i = InspectorCounter
        busy = row.get(i.ENGINE_BUSY_NS) / max(1, row.get(i.INFERENCES)) / _NS_PER_MS
        return [
            ("Judged", f"{row.get(i.JUDGED):,}"),
            ("Per view", f"{busy:.1f} ms"),
            ("Shed", f"{row.get(i.SHED):,}"),
        ]
    if row.name == "gate":
        g = GateCounter
        return [
            ("Journal", f"{row.get(g.JOURNAL_RECORDS):,}"),
            ("Slowest sync", f"{row.get(g.JOURNAL_SYNC_NS_MAX) / _NS_PER_MS:.1f} ms"),
            ("Refused", f"{row.get(g.REFUSED_CONNECTIONS):,}"),
        ]
    if row.name == "recorder":
        r = RecorderCounter
        return [
            ("Pictures", f"{row.get(r.IMAGES_STORED):,}"),
            ("Behind", f"{row.get(r.LAG_BYTES) / 1024:.0f} kB"),
            ("Disk free", f"{row.get(r.DISK_FREE_MB) / 1024:.1f} GB"),
        ]
    return []


def _line(gate: Row) -> LineFact:
    state = gate.get(GateCounter.STATION_STATE)
    known = state in STATES
    return LineFact(
        state=StationState(state).name.lower() if known else "unknown",
        state_label=STATES[state].label if known else "Starting",
        armed=bool(gate.get(GateCounter.ARMED)),
        plc_alive=bool(gate.get(GateCounter.PLC_ALIVE)),
        epoch=gate.get(GateCounter.EPOCH),
        modbus_port=gate.get(GateCounter.MODBUS_PORT),
        newest_seq=gate.get(GateCounter.NEWEST_SEQ),
        late=gate.get(GateCounter.LATE),
        missed_triggers=gate.get(GateCounter.MISSED_TRIGGERS),
        last_margin_ms=gate.get(GateCounter.LAST_MARGIN_MS),
    )


def _counts(gate: Row) -> CountsFact:
    return CountsFact(
        triggers=gate.get(GateCounter.TRIGGERS),
        passed=gate.get(GateCounter.PASS),
        rejected=gate.get(GateCounter.REJECT),
        not_inspected=gate.get(GateCounter.NOT_INSPECTED),
        in_flight=gate.get(GateCounter.IN_FLIGHT),
    )


def _level(processes: list[ProcessFact], line: LineFact) -> tuple[Level, str]:
    """How it stands, and one sentence for the person in front of the screen."""
    by_role = {p.role: p for p in processes}
    supervisor, gate = by_role.get("supervisor"), by_role.get("gate")
    if supervisor is None or gate is None:
        return "down", "The station is not running. The gate stays closed, and every part is diverted."
    if supervisor.health == "down":
        return "down", "The station has stopped answering. Silence is reject: every part is diverted."
    ill = [p for p in processes if p.health != "ready"]
    if ill:
        first = ill[0]
        told = f"{first.label}: {first.text or first.health}".rstrip(".")
        return "degraded", f"{told}." if line.armed else f"{told}. Parts are diverted."
    if not line.plc_alive:
        return "waiting", "No PLC is connected. Parts are diverted until it is."
    if not line.armed:
        why = "waiting for the PLC to arm" if line.state == "ready" else "not inspecting"
        return "waiting", f"{line.state_label}: {why}. Parts are diverted."
    return "running", "Inspecting every part."
