# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the station's journal says of one run: one entry a part, read as any auditor would read it.

The twin's truth never comes from here; this is the station's own story, to be compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inspection.journal_reader import read
from inspection.journal_records import PartOpened, Published, Started, VerdictRecord
from inspection.twin.stamp import STRIP_HEIGHT_PX, decode_strip
from inspection.types import Outcome


@dataclass(slots=True, kw_only=True)
class JournalPart:
    """One trigger as the station recorded it."""

    epoch: int
    ordinal: int
    seq: int
    verdict: VerdictRecord | None = None  # the last one counts; None: opened, never closed
    published_ns: int | None = None

    @property
    def outcome(self) -> Outcome | None:
        """PASS, REJECT, NOT_INSPECTED, or None while in flight."""
        return None if self.verdict is None else Outcome(self.verdict.outcome)


@dataclass(slots=True, kw_only=True)
class JournalRun:
    """All parts of the epochs that began in this run, by (epoch, seq)."""

    epochs: list[int] = field(default_factory=list)
    parts: dict[tuple[int, int], JournalPart] = field(default_factory=dict)
    repeated_numbers: int = 0  # two parts under one (epoch, seq)
    recipe_sha256: str = ""
    bundle_sha256: str = ""
    records: int = 0


def read_run(folder: Path, since_utc_ns: int) -> JournalRun:
    """Read the journal from the first start at or after `since_utc_ns` on; JournalCorrupt when damaged."""
    run = JournalRun()
    by_ordinal: dict[tuple[int, int], JournalPart] = {}
    for entry in read(folder):
        record = entry.record
        if isinstance(record, Started) and record.utc_ns >= since_utc_ns:
            run.epochs.append(record.epoch)
            run.recipe_sha256, run.bundle_sha256 = record.recipe_sha256, record.bundle_sha256
        run.records += bool(run.epochs)
        if isinstance(record, PartOpened):
            epoch, ordinal, seq = record.part.epoch, record.part.ordinal, record.part.seq
        elif isinstance(record, VerdictRecord | Published):
            epoch, ordinal, seq = record.epoch, record.ordinal, record.seq
        else:
            continue
        if epoch not in run.epochs:
            continue
        part = by_ordinal.get((epoch, ordinal))
        if part is None:
            part = by_ordinal[epoch, ordinal] = JournalPart(epoch=epoch, ordinal=ordinal, seq=seq)
            run.repeated_numbers += (epoch, seq) in run.parts
            run.parts[epoch, seq] = part
        if isinstance(record, VerdictRecord):
            part.verdict = record
        elif isinstance(record, Published):
            part.published_ns = record.published_ns
    return run


def stamped_numbers(verdict: VerdictRecord, width_px: int, *, colour: bool) -> list[tuple[int, int] | None]:
    """What the strip of each view says, (part number, view) or None, in the order of the record's views."""
    out: list[tuple[int, int] | None] = []
    for view in verdict.views:
        pixels = np.frombuffer(view.strip, np.uint8)
        channels = 3 if colour else 1
        if pixels.size != STRIP_HEIGHT_PX * width_px * channels:
            out.append(None)
            continue
        strip = pixels.reshape(STRIP_HEIGHT_PX, width_px, channels)[:, :, 0]
        out.append(decode_strip(strip))
    return out
