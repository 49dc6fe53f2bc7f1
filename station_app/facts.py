# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the console knows, one class a fact: the JSON API, the live socket and the pages all use these.

Times: `_ns` on the station's monotonic clock are never shown; `utc_ns` are; `_ms` are differences.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

OutcomeName = Literal["pass", "reject", "not_inspected"]
Level = Literal["running", "waiting", "degraded", "down"]
Health = Literal["ready", "starting", "degraded", "fault", "down"]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class FindingFact(_Fact):
    """One candidate defect; half-open box in original camera pixels."""

    camera: int
    defect_class: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def size_px(self) -> float:
        """Largest extent."""
        return max(self.x1 - self.x0, self.y1 - self.y0)


class ViewFact(_Fact):
    """One camera's look at a part. `image` is the sha256 of the stored picture, None when it was not kept."""

    camera: int
    serial: str
    frame_id: int | None = None
    encoder: int | None = None
    image: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    seen_px: tuple[int, int, int, int] | None = Field(
        default=None, description="x, y, width, height of what the detector saw of the picture."
    )


class PartFact(_Fact):
    """One part as a row of the history."""

    id: int
    run_id: int
    epoch: int
    ordinal: int
    seq: int
    part_id: str | None = None
    triggered_utc_ns: int
    outcome: OutcomeName
    reason: str
    rejected_by: list[str]
    latency_ms: float | None = Field(description="Trigger to publication.")
    deadline_ms: float
    disposition: int | None = None
    image: str | None = Field(default=None, description="sha256 of the first picture kept.")
    finding_count: int = 0


class TimingFact(_Fact):
    """What happened when, in ms after the trigger; None where it did not happen."""

    ready_ms: float | None = None
    judged_ms: float | None = None
    closed_ms: float
    published_ms: float | None = None
    deadline_ms: float


class PartDetail(PartFact):
    """One part with everything the record holds."""

    encoder: int | None = None
    recipe_sha256: str
    bundle_sha256: str
    station: str
    run_started_utc_ns: int
    timing: TimingFact
    views: list[ViewFact]
    findings: list[FindingFact]
    older_id: int | None = None
    newer_id: int | None = None


class ThumbFact(_Fact):
    """A part with one picture and the findings of that view."""

    part: PartFact
    view: ViewFact | None
    findings: list[FindingFact]


class PartsPage(_Fact):
    """One page of the history, newest first; `next_before` is the `before` of the next page."""

    parts: list[PartFact]
    next_before: int | None = None


class CountsFact(_Fact):
    """The gate's counters; triggers = passed + rejected + not_inspected + in_flight."""

    triggers: int = 0
    passed: int = 0
    rejected: int = 0
    not_inspected: int = 0
    in_flight: int = 0


class ProcessFact(_Fact):
    """One process of the station, from its row on the status board."""

    role: str
    label: str
    health: Health
    text: str = ""
    age_ms: int | None = None
    restarts: int = 0
    facts: list[tuple[str, str]] = []


class LineFact(_Fact):
    """The link to the PLC and the station's state."""

    state: str = "down"
    state_label: str = "Stopped"
    armed: bool = False
    plc_alive: bool = False
    epoch: int = 0
    modbus_port: int = 0
    newest_seq: int = 0
    late: int = 0
    missed_triggers: int = 0
    last_margin_ms: int | None = None


class LatencyFact(_Fact):
    """Trigger to verdict over the most recent parts."""

    parts: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    deadline_ms: float


class StationFact(_Fact):
    """The whole station at one instant."""

    name: str
    simulated: bool
    level: Level
    sentence: str
    seen_utc_ns: int
    line: LineFact
    counts: CountsFact
    first_pass_yield: float | None
    parts_per_s: float
    reasons: list[tuple[str, int]]
    defects: list[tuple[str, int]]
    latency: LatencyFact
    processes: list[ProcessFact]
