# SPDX-License-Identifier: AGPL-3.0-or-later
"""station.toml -> StationConfig: every key known, every error one sentence with the line it stands on."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inspection.types import StationFault
from inspection.window import PairWindow

Positive = Annotated[float, Field(gt=0)]
Rectangle = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=4, max_length=4)]


_LEAST_BAND_NS = 5_000_000  # two clocks, a strobe's delay and a PLC's scan are not closer together than that


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StationTable(_Table):
    """[station]: who we are and where things lie."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    data_dir: Path
    recipe: Path
    bundle: Path
    trusted: list[Path] = []
    simulated: bool = False
    consecutive_rejects_stop: Annotated[int, Field(ge=0)] = 0  # 0: never asks for a line stop


class LineTable(_Table):
    """[line]: geometry and timing of the belt, from trigger to gate (line contract, Time)."""

    pulses_per_mm: Positive
    min_pitch_mm: Positive
    max_speed_mm_s: Positive
    travel_mm: Positive
    gate_window_mm: Positive
    gate_actuation_ms: Annotated[float, Field(ge=0)] = 20.0
    jitter_margin_ms: Annotated[float, Field(ge=0)] = 10.0
    plc_poll_ms: Positive = 10.0
    plc_scan_ms: Positive = 10.0
    deadline_ms: Positive
    pairing: Literal["encoder", "timestamp"] = "encoder"
    pairing_window_ms: Positive = 5.0
    pairing_band_ms: Positive | None = None  # half the minimum pitch at the highest speed, at least 5 ms

    @property
    def min_pitch_pulses(self) -> int:
        """Smallest distance of two parts, encoder pulses."""
        return max(1, int(self.min_pitch_mm * self.pulses_per_mm))

    @property
    def pair_window_pulses(self) -> int:
        """Half the minimum pitch: how far a picture's count may lie from its part's (line contract)."""
        return max(1, self.min_pitch_pulses // 2)

    @property
    def pair_window(self) -> PairWindow:
        """What inspector and gate, each for itself, hold a picture against its part with."""
        return PairWindow(kind=self.pairing, pulses=self.pair_window_pulses, time_ns=self.pair_time_ns)

    @property
    def half_pitch_ns(self) -> int:
        """How long the belt needs for half the minimum pitch at its highest speed."""
        return int(self.min_pitch_mm / 2 / self.max_speed_mm_s * 1e9)

    @property
    def pair_time_ns(self) -> int:
        """How far an exposure may lie outside the span in which its trigger is known to lie (line contract)."""
        if self.pairing == "timestamp":
            return int(self.pairing_window_ms * 1e6)
        if self.pairing_band_ms is not None:
            return int(self.pairing_band_ms * 1e6)
        return max(self.half_pitch_ns, _LEAST_BAND_NS)

    @property
    def deadline_ns(self) -> int:
        """Trigger instant to verdict, nanoseconds."""
        return int(self.deadline_ms * 1e6)


class ModbusTable(_Table):
    """[modbus]: where the PLC finds us, and who may read and write. Loopback unless configured."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 1502
    writer: str = "127.0.0.1"
    readers: list[str] = ["127.0.0.1"]
    idle_timeout_s: Positive = 5.0


class EngineTable(_Table):
    """[engine]: which runtime infers, with how many threads."""

    kind: Literal["openvino", "onnx", "scripted"] = "openvino"
    threads: Annotated[int, Field(ge=1, le=256)] = 2
    max_batch: Annotated[int, Field(ge=1, le=64)] = 4
    hang_ms: Positive = 150.0
    script: Path | None = None


class CameraTable(_Table):
    """[[camera]]: one view of the part; cameras are named by serial number."""

    serial: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
    producer: str = "linesim"  # path of a .cti file, or "linesim" / "viky" for the simulated ones
    width_px: Annotated[int, Field(ge=1, le=20000)]
    height_px: Annotated[int, Field(ge=1, le=20000)]
    pixel_format: str = "Mono8"
    view_px: Rectangle | None = (
        None  # x, y, width, height of what the detector sees; the whole frame by default
    )
    strip_px: Rectangle | None = None  # a strip recorded with the part, never decoded here
    slots: Annotated[int, Field(ge=2, le=256)] = 16
    buffers: Annotated[int, Field(ge=4, le=256)] = 16
    trigger: Literal["line", "software", "free"] = "line"
    settings: list[tuple[str, bool | int | float | str]] = []  # written in this order, then read back

    @model_validator(mode="after")
    def _rectangles_lie_inside(self) -> CameraTable:
        for name in ("view_px", "strip_px"):
            r = getattr(self, name)
            if r is None:
                continue
            x, y, w, h = r
            if w < 1 or h < 1 or x + w > self.width_px or y + h > self.height_px:
                raise ValueError(f"{name} {r} lies outside the {self.width_px}x{self.height_px} picture")
        return self

    @property
    def view(self) -> tuple[int, int, int, int]:
        """x, y, width, height of the detector's view, pixels."""
        if self.view_px is None:
            return (0, 0, self.width_px, self.height_px)
        x, y, w, h = self.view_px
        return (x, y, w, h)


class RecordsTable(_Table):
    """[records]: what is kept, and for how long the disk may fill."""

    pass_share: Annotated[float, Field(ge=0, le=1)] = 0.1  # share of passed parts whose pictures are kept
    min_free_mb: Annotated[int, Field(ge=0)] = 2000  # below this, pictures are shed; the journal goes on
    keep_mb: Annotated[int, Field(ge=1)] = 20000
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 92
    journal_segment_mb: Annotated[int, Field(ge=1, le=1024)] = 64
    journal_keep_days: Positive = 90.0  # older segments go, once the database has them for good
    journal_keep_mb: Annotated[int, Field(ge=1)] = 50000  # and the oldest beyond this total


class ConsoleTable(_Table):
    """[console]: where people reach us."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000


class PromotionTable(_Table):
    """[promotion]: what a bundle must show, and who must ask for it, before the station judges by it."""

    people: Literal[1, 2] = 1  # named with --who, and with --second where it is 2
    escape_upper: Annotated[float, Field(gt=0, le=1)] | None = None  # one-sided 95 % bound on the golden set
    overkill_more: Annotated[float, Field(ge=0, le=1)] = (
        0.01  # tolerated beyond the active bundle's, golden set
    )


class WatchTable(_Table):
    """[watch]: where people's reviews of this line stand; a promoted bundle that is worse goes by itself."""

    dataset: Path | None = None  # a dataset home (gatesight data); without it the station watches nothing
    look_s: Annotated[float, Field(ge=0.2, le=3600)] = 10.0
    tolerated: Annotated[float, Field(ge=0, lt=1)] = 0.0  # so much more overkill, or escapes, is worth no act


class StationConfig(_Table):
    """The whole of station.toml, checked. Paths are absolute."""

    station: StationTable
    line: LineTable
    modbus: ModbusTable = ModbusTable()
    engine: EngineTable = EngineTable()
    camera: Annotated[list[CameraTable], Field(min_length=1, max_length=16)]
    records: RecordsTable = RecordsTable()
    console: ConsoleTable = ConsoleTable()
    promotion: PromotionTable = PromotionTable()
    watch: WatchTable = WatchTable()

    @model_validator(mode="after")
    def _serials_differ(self) -> StationConfig:
        serials = [c.serial for c in self.camera]
        twice = sorted({s for s in serials if serials.count(s) > 1})
        if twice:
            raise ValueError(f"camera serial {twice[0]} is configured twice")
        return self

    @model_validator(mode="after")
    def _fired_in_time(self) -> StationConfig:
        fired = [c.serial for c in self.camera if c.trigger == "software"]
        limit_ms = self.line.half_pitch_ns / 1e6
        if fired and self.line.plc_poll_ms >= limit_ms:
            raise ValueError(
                f'camera {fired[0]} has trigger = "software" and no part could be photographed in time: it has'
                f" moved half of min_pitch_mm after {limit_ms:.1f} ms, and plc_poll_ms is"
                f" {self.line.plc_poll_ms:g}; poll faster, slow the belt, or wire the camera's trigger line"
            )
        return self

    @property
    def fired(self) -> frozenset[int]:
        """Indices of the cameras that the station triggers itself."""
        return frozenset(i for i, camera in enumerate(self.camera) if camera.trigger == "software")

    @property
    def sha256(self) -> str:
        """Hex digest over every value, defaults written out: two files that mean the same have the same."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def journal_dir(self) -> Path:
        """Segments of the verdict journal."""
        return self.station.data_dir / "journal"

    @property
    def records_db(self) -> Path:
        """SQLite file of the records projection."""
        return self.station.data_dir / "records.sqlite"

    @property
    def console_db(self) -> Path:
        """SQLite file of users and sessions."""
        return self.station.data_dir / "console.sqlite"

    @property
    def images_dir(self) -> Path:
        """Content-addressed pictures."""
        return self.station.data_dir / "images"

    @property
    def key_dir(self) -> Path:
        """The station's own signing key."""
        return self.station.data_dir / "keys"

    @property
    def registry_dir(self) -> Path:
        """Bundles of this station, and the history of which one it judges by (weights/registry.py)."""
        return self.station.data_dir / "registry"

    @property
    def run_dir(self) -> Path:
        """Logs and sockets of this run."""
        return self.station.data_dir / "run"

    @property
    def shm_dir(self) -> Path:
        """Rings, board, previews: memory, gone with the machine; one folder a data_dir."""
        digest = hashlib.sha256(str(self.station.data_dir).encode()).hexdigest()[:12]
        return Path("/dev/shm") / f"gatesight-{digest}"  # noqa: S108 - shared memory is the point

    @property
    def previews_dir(self) -> Path:
        """Latest picture of each camera, for the console."""
        return self.shm_dir / "previews"

    @property
    def board_path(self) -> Path:
        """The status board."""
        return self.shm_dir / "board"

    def ring_path(self, serial: str) -> Path:
        """The ring of one camera."""
        return self.shm_dir / f"ring-{serial}"

    def shadow_ring_path(self, serial: str) -> Path:
        """The shadow's ring of one camera: copies only."""
        return self.shm_dir / f"shadow-{serial}"

    def board_rows(self) -> list[str]:
        """Names of all rows on the status board."""
        return [
            "supervisor",
            "gate",
            "inspector",
            "recorder",
            "shadow",
            *(["watch"] if self.watch.dataset is not None else []),
            *(f"camera:{c.serial}" for c in self.camera),
        ]


def load_config(path: Path) -> StationConfig:
    """Read and check station.toml; relative paths are taken from its folder.

    Raises StationFault with one sentence that names file, line, key and remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise StationFault(f"Cannot read {path}: {e}; give the path of a station.toml with --config.") from e
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise StationFault(f"{path} is not valid TOML: {e}.") from e
    base = path.resolve().parent
    try:
        config = StationConfig.model_validate(raw)
    except ValidationError as e:
        raise StationFault(_sentence(path, text, e)) from e
    return _absolute(config, base)


def _absolute(config: StationConfig, base: Path) -> StationConfig:
    def whole(p: Path) -> Path:
        return p if p.is_absolute() else (base / p).resolve()

    s = config.station
    station = s.model_copy(
        update={
            "data_dir": whole(s.data_dir),
            "recipe": whole(s.recipe),
            "bundle": whole(s.bundle),
            "trusted": [whole(p) for p in s.trusted],
        }
    )
    engine = config.engine
    if engine.script is not None:
        engine = engine.model_copy(update={"script": whole(engine.script)})
    cameras = [
        c
        if c.producer in {"linesim", "viky"}
        else c.model_copy(update={"producer": str(whole(Path(c.producer)))})
        for c in config.camera
    ]
    watch = config.watch
    if watch.dataset is not None:
        watch = watch.model_copy(update={"dataset": whole(watch.dataset)})
    changed = {"station": station, "engine": engine, "camera": cameras, "watch": watch}
    return config.model_copy(update=changed)


def _sentence(path: Path, text: str, error: ValidationError) -> str:
    """First error of a validation as one sentence: file, line, key, what is wrong, remedy."""
    # A misspelt key shows up twice, as unknown and as missing: the unknown one is the cause.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where = [str(p) for p in first["loc"]]
    line = _line_of(text, first["loc"])
    key = ".".join(where) or "station.toml"
    at = f"{path}, line {line}" if line else str(path)
    if first["type"] == "extra_forbidden":
        return f"{at}: unknown key {key}; remove it or correct its spelling."
    if first["type"] == "missing":
        return f"{at}: {key} is missing; add it."
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first.get("input"), dict) else f" (given: {first.get('input')!r})"
    return f"{at}: {key}: {message}{given}; correct it."


def _line_of(text: str, loc: tuple[int | str, ...]) -> int | None:
    """Line of a key, or of the table it should stand in. TOML parsers of the library keep no positions."""
    table = str(loc[0]) if loc else ""
    index = loc[1] if len(loc) > 1 and isinstance(loc[1], int) else 0
    key = next((str(p) for p in loc[1:] if isinstance(p, str)), None)
    here, seen, header_line = "", -1, None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if m := re.match(r"\[\[?\s*([A-Za-z0-9_.\-]+)\s*\]?\]", line):
            here = m.group(1)
            seen += here == table
            if here == table and (not line.startswith("[[") or seen == index):
                header_line = number
            continue
        in_table = here == table and header_line is not None and index in (seen, 0)
        if in_table and key and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return header_line
