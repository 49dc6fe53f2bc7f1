# SPDX-License-Identifier: AGPL-3.0-or-later
"""A line with a registry and two bundles that judge alike, and what its journal must say of a change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from inspection.config import StationConfig
from inspection.journal_reader import read
from inspection.journal_records import BundleInUse, Started, VerdictRecord
from inspection.twin.layout import LineOptions
from inspection.twin.line import SimulatedLine
from inspection.types import Outcome, Reason
from tests.bundles.tiny_models import bright_spot_model, card_dict
from tests.line.toy_bundle import RECIPE
from weights.bundle import trust_bundle, write_bundle
from weights.registry import Registry


def write_two(folder: Path, *, second: dict[str, object] | None = None) -> tuple[Path, Path, Path]:
    """Two signed toy bundles and the folder that trusts them; the card of the other one may differ."""
    key = Ed25519PrivateKey.generate()
    for name in ("first", "second"):
        card = card_dict() | {"name": name} | ((second or {}) if name == "second" else {})
        write_bundle(folder / name, model=bright_spot_model(), card=card, key=key, recipe=RECIPE)
    trust_bundle(folder / "first", folder / "trusted")
    return folder / "first", folder / "second", folder / "trusted"


def swap_options(folder: Path, **line: object) -> tuple[LineOptions, Path]:
    """Options of a line that begins with the first bundle, and the path of the second."""
    first, second, trusted = write_two(folder)
    return LineOptions(bundle=first, trusted=(trusted,), engine="onnx", **line), second  # type: ignore[arg-type]


def registry_of(config: StationConfig) -> Registry:
    """The station's registry."""
    return Registry(config.registry_dir, config.station.trusted)


def promote(line: SimulatedLine, path: Path, *, who: str = "Ada") -> tuple[str, str]:
    """As `gatesight promote` does once the rule has said yes; hashes of the bundle before and the new one."""
    assert line.config is not None
    registry = registry_of(line.config)
    registry.adopt(line.config.station.bundle, who=who, why="configured")
    before = registry.standing.active
    assert before is not None
    sha256 = registry.find(str(path))
    if sha256 not in registry.standing.states:
        registry.add(path, who=who, why="candidate")
    registry.promote(sha256, who=who, why="a test", expected_active=before, facts={})
    return before, sha256


def judges(line: SimulatedLine, sha256: str, patience_s: float = 60.0) -> bool:
    """Let the line run until the inspector says that it judges by this bundle."""

    def now() -> bool:
        reading = line.read_board()
        return reading is not None and sha256[:12] in reading.texts["inspector"]

    return line.run(patience_s, now)


def changes(folder: Path) -> list[BundleInUse]:
    """Every change of bundle on record."""
    return [e.record for e in read(folder) if isinstance(e.record, BundleInUse)]


def wrong_stamps(folder: Path) -> list[tuple[int, int]]:
    """Parts that were judged under another bundle than the one on record for their ordinal: the oracle.

    It reads the journal as an auditor would: which bundle from which part on, and what each verdict says.
    """
    expected: dict[int, list[tuple[int, str]]] = {}
    verdicts: dict[tuple[int, int], VerdictRecord] = {}
    for record in _records(folder):
        if isinstance(record, Started):
            expected[record.epoch] = [(0, record.bundle_sha256)]
        elif isinstance(record, BundleInUse):
            expected[record.epoch].append((record.from_ordinal, record.bundle_sha256))
        elif isinstance(record, VerdictRecord):
            verdicts[record.epoch, record.ordinal] = record
    wrong: list[tuple[int, int]] = []
    for (epoch, ordinal), record in verdicts.items():
        due = [sha for first, sha in expected[epoch] if first <= ordinal][-1]
        if record.outcome is not Outcome.NOT_INSPECTED and record.bundle_sha256 != due:
            wrong.append((epoch, ordinal))
    return wrong


def judged_by(folder: Path) -> dict[str, int]:
    """How many parts each bundle has judged."""
    counted: dict[str, int] = {}
    for record in _records(folder):
        if isinstance(record, VerdictRecord) and record.outcome is not Outcome.NOT_INSPECTED:
            counted[record.bundle_sha256] = counted.get(record.bundle_sha256, 0) + 1
    return counted


def lost_otherwise(folder: Path) -> list[str]:
    """Why parts were not inspected, but for want of processor time, which other work on the machine may cause.

    That a swap as such costs no part is shown on the virtual clock (tests/line/test_virtual_swap.py).
    """
    late = {Reason.DEADLINE_MISSED, Reason.SHED, Reason.JOURNAL_LATE}
    last = {(r.epoch, r.ordinal): r for r in _records(folder) if isinstance(r, VerdictRecord)}
    lost = [r for r in last.values() if r.outcome is Outcome.NOT_INSPECTED]
    return [f"{r.ordinal}: {r.reasons[0].value}" for r in lost if not late.issuperset(r.reasons)]


def _records(folder: Path) -> Iterator[object]:
    return (entry.record for entry in read(folder))
