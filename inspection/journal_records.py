# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the journal says: one tagged msgpack struct a fact, in the order in which the gate learned it.

The journal is the truth; databases are projections of it. Several `VerdictRecord`s of one (epoch, ordinal)
may follow each other only before publication; the last one counts. All `_ns` stamps are monotonic, except
`_utc_ns`, which label the record for people.
"""

from __future__ import annotations

import msgspec

from inspection.messages import ViewSeen
from inspection.types import Disposition, Finding, Outcome, PartRef, Reason, StationFault


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The gate came up: a new epoch begins, and nothing of an older one is in flight any more."""

    epoch: int
    recipe_sha256: str
    bundle_sha256: str
    utc_ns: int
    monotonic_ns: int
    station: str = ""
    summary: dict[str, str] = {}


class Continued(msgspec.Struct, frozen=True, kw_only=True, tag="continued"):
    """First record of a segment that goes on with a run: each segment says by itself which run it holds."""

    epoch: int
    recipe_sha256: str
    bundle_sha256: str


class BundleInUse(msgspec.Struct, frozen=True, kw_only=True, tag="bundle"):
    """The recipe and bundle under which parts are judged from `from_ordinal` on, and who wanted that and why.

    act: number of the line in the registry's history; 0 where an inspector merely started.
    """

    epoch: int
    recipe_sha256: str
    bundle_sha256: str
    utc_ns: int
    from_ordinal: int = 0
    act: int = 0
    who: str = ""
    why: str = ""


class Armed(msgspec.Struct, frozen=True, kw_only=True, tag="armed"):
    """Arm was accepted; triggers after `baseline` count, the baseline itself does not."""

    epoch: int
    baseline: int
    utc_ns: int


class PartOpened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """A trigger was accepted. Not synced: it exists so that a restart can close what was in flight."""

    part: PartRef
    trigger_utc_ns: int


class VerdictRecord(msgspec.Struct, frozen=True, kw_only=True, tag="verdict"):
    """The outcome of one part and everything it rests on. A PASS is published only after this is on disk."""

    epoch: int
    ordinal: int
    seq: int
    encoder: int | None  # pulses, unsigned 32 bit; None: the trigger was missed, only its number is known
    trigger_ns: int
    deadline_ns: int
    trigger_utc_ns: int
    outcome: Outcome
    reasons: tuple[Reason, ...]
    rejected_by: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    views: tuple[ViewSeen, ...] = ()
    recipe_sha256: str = ""
    bundle_sha256: str = ""
    ready_ns: int | None = None
    judged_ns: int | None = None
    closed_ns: int = 0


class Published(msgspec.Struct, frozen=True, kw_only=True, tag="published"):
    """The outcome of this part stood in the registers from `published_ns` on."""

    epoch: int
    ordinal: int
    seq: int
    published_ns: int


class DispositionRecord(msgspec.Struct, frozen=True, kw_only=True, tag="disposition"):
    """What the line's gate did with the part, as the PLC reported it."""

    epoch: int
    seq: int
    disposition: Disposition
    utc_ns: int


class PartIdentified(msgspec.Struct, frozen=True, kw_only=True, tag="part_id"):
    """The part's own identification (serial number, lot), as the PLC reported it."""

    epoch: int
    seq: int
    part_id: str
    utc_ns: int


class LineEvent(msgspec.Struct, frozen=True, kw_only=True, tag="event"):
    """Something people should find later: a state change, a refused connection, a torn tail cut at recovery."""

    epoch: int
    kind: str
    text: str
    utc_ns: int


class Stopped(msgspec.Struct, frozen=True, kw_only=True, tag="stopped"):
    """The gate went down in order: everything open was closed before this."""

    epoch: int
    utc_ns: int
    text: str = ""


Record = (
    Started
    | Continued
    | BundleInUse
    | Armed
    | PartOpened
    | VerdictRecord
    | Published
    | DispositionRecord
    | PartIdentified
    | LineEvent
    | Stopped
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Record)


class JournalCorrupt(StationFault):
    """The journal on disk is not what was written; never repaired in silence."""


def encode_record(record: Record) -> bytes:
    """Payload bytes of one record."""
    return _ENCODER.encode(record)


def decode_record(payload: bytes) -> Record:
    """Inverse of `encode_record`; JournalCorrupt for bytes that are no record of this version."""
    try:
        return _DECODER.decode(payload)
    except msgspec.DecodeError as e:
        raise JournalCorrupt(
            f"A journal record cannot be read ({e}): was it written by a newer version? Use that version, "
            "or move the journal folder aside to begin a new one."
        ) from e
