# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the station's processes say to each other: one datagram, one message (msgpack, tagged union).

Pictures never travel here: only (slot, generation). `inspection.link` carries the bytes.
"""

from __future__ import annotations

import msgspec

from inspection.types import FrameRef, PartRef, Reason, Verdict


class FrameReady(msgspec.Struct, frozen=True, tag="frame"):
    """Camera worker -> inspector: a picture lies in a slot; the slot's lease goes with this message."""

    frame: FrameRef


class FrameFault(msgspec.Struct, frozen=True, tag="frame_fault"):
    """Camera worker -> inspector: a trigger gave no usable picture (reason says which term it counts in)."""

    camera: int
    reason: Reason
    at_ns: int
    encoder_pulses: int | None = None
    frame_id: int | None = None


class SlotsLeft(msgspec.Struct, frozen=True, tag="slots_left"):
    """A process that was started again -> the owner after it: slots that its predecessor had passed on to you.

    A predecessor killed between passing a slot on and saying so leaves one of which nobody was told. All that
    it did say lies before this message, so a slot listed here of which you know nothing is free.
    """

    camera: int
    slots: tuple[tuple[int, int], ...]  # slot, generation


class FireTrigger(msgspec.Struct, frozen=True, tag="fire"):
    """Inspector -> camera worker: take this part's picture now ([[camera]] trigger = "software")."""

    ordinal: int
    encoder_pulses: int  # the part's
    at_ns: int  # the part's trigger instant
    until_ns: int  # from here on the belt may have carried the part half a minimum pitch: no picture of it


class PartTriggered(msgspec.Struct, frozen=True, tag="part"):
    """Gate -> inspector: expect pictures of this part."""

    part: PartRef


class PartClosed(msgspec.Struct, frozen=True, tag="closed"):
    """Gate -> inspector: the outcome is fixed; stop working on this part and give its slots back."""

    ordinal: int


class LineReset(msgspec.Struct, frozen=True, tag="reset"):
    """Gate -> inspector: everything in flight is closed (arming, resync, fault); drop all parts and frames."""

    epoch: int
    armed: bool


class ViewSeen(msgspec.Struct, frozen=True):
    """Which picture a verdict rests on; the gate checks the encoder count against the trigger once more."""

    camera: int
    frame_id: int
    encoder_pulses: int | None
    exposure_ns: int
    ready_ns: int
    strip: bytes = b""  # raw pixels of the configured strip, undecoded; see [[camera]].strip_px
    stamped: bool = True  # False: `exposure_ns` is only when the picture reached us


class ExposureDone(msgspec.Struct, frozen=True, tag="exposed"):
    """Inspector -> gate: all views of the part have arrived (input register 9)."""

    ordinal: int


class PartJudged(msgspec.Struct, frozen=True, tag="judged"):
    """Inspector -> gate: the verdict on a part and what it rests on."""

    ordinal: int
    epoch: int
    seq: int
    verdict: Verdict
    views: tuple[ViewSeen, ...]
    recipe_sha256: str
    bundle_sha256: str
    ready_ns: int  # last slot ready, monotonic
    judged_ns: int


class BundleReady(msgspec.Struct, frozen=True, tag="bundle_ready"):
    """Inspector -> gate: I judge by this bundle, or could from now on. Sent until the gate agrees.

    act, who, why: the registry's line behind a change; 0 and "" at a start.
    """

    bundle_sha256: str
    recipe_sha256: str
    act: int = 0
    who: str = ""
    why: str = ""


class BundleAgreed(msgspec.Struct, frozen=True, tag="bundle_agreed"):
    """Gate -> inspector: it is on record. Parts from this ordinal on are judged by that bundle, none before."""

    epoch: int
    bundle_sha256: str
    from_ordinal: int


class UseBundle(msgspec.Struct, frozen=True, tag="use_bundle"):
    """Supervisor -> inspector: the registry's active bundle is another one now. Load it, then take it."""

    act: int  # number of the registry's line
    bundle_sha256: str
    who: str
    why: str


class BundleTaken(msgspec.Struct, frozen=True, tag="bundle_taken"):
    """Inspector -> supervisor: what came of the order; `refusal` is "" where the bundle is in use now."""

    act: int
    bundle_sha256: str
    refusal: str = ""


class ShadowPart(msgspec.Struct, frozen=True, tag="shadow_part"):
    """Inspector -> shadow: a part that was judged; `frames` lie in the shadow's own rings, its to free."""

    epoch: int
    ordinal: int
    seq: int
    verdict: Verdict
    bundle_sha256: str
    frames: tuple[FrameRef, ...]


class ShadowJudged(msgspec.Struct, frozen=True, tag="shadow_judged"):
    """Shadow -> recorder: what the candidate says of a part, beside what was said. It decides nothing."""

    epoch: int
    ordinal: int
    seq: int
    bundle_sha256: str
    outcome: int
    score: float
    shadow_sha256: str
    shadow_outcome: int
    shadow_score: float
    rejected_by: tuple[str, ...]
    utc_ns: int


class ImageHandOver(msgspec.Struct, frozen=True, tag="image"):
    """Inspector -> recorder: this slot's lease is now yours; archive or preview it, then free the slot."""

    frame: FrameRef
    epoch: int
    ordinal: int  # 0: paired with no part
    seq: int
    outcome: int  # of the inspector's verdict; the journal has the last word
    verdict: Verdict | None = None
    keep: bool = True  # False: only for people to see now, not for the archive


Message = (
    FrameReady
    | FrameFault
    | SlotsLeft
    | FireTrigger
    | PartTriggered
    | PartClosed
    | LineReset
    | ExposureDone
    | PartJudged
    | ImageHandOver
    | BundleReady
    | BundleAgreed
    | UseBundle
    | BundleTaken
    | ShadowPart
    | ShadowJudged
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Bytes of one datagram."""
    return _ENCODER.encode(message)


def decode(data: bytes | memoryview) -> Message:
    """Inverse of `encode`; raises msgspec.DecodeError on anything else."""
    return _DECODER.decode(data)
