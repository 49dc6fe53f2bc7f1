# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small, realistic mistakes in pairing pictures with parts. The suite must catch every one of them."""

from __future__ import annotations

from tests.contract.code import Bug

WINDOW = "inspection.window"
PAIRING = "inspection.pairing"

PAIRING_BUGS = (
    Bug(
        name="the encoder count alone pairs",
        module=PAIRING,
        old="        elif not self._agrees(item, matches[0].part):",
        new="        elif not matches:",
    ),
    Bug(
        name="the band is a whole pitch",
        module=WINDOW,
        old="since_trigger_ns <= part.edge_spread_ns + self.time_ns",
        new="since_trigger_ns <= part.edge_spread_ns + 2 * self.time_ns",
    ),
    Bug(
        name="pictures from a pitch before are believed",
        module=WINDOW,
        old="        if since_trigger_ns < -self.time_ns:",
        new="        if since_trigger_ns < -2 * self.time_ns:",
    ),
    Bug(
        name="a picture with a contradicting clock is dropped and the part waits",
        module=PAIRING,
        old="            self._fail(matches[0], Reason.PAIRING_TIME)\n",
        new="",
    ),
    Bug(
        name="a picture with a contradicting clock is lost with its slot",
        module=PAIRING,
        old="            self._orphan(item, matches[0].part)\n"
        "            self._fail(matches[0], Reason.PAIRING_TIME)",
        new="            self._fail(matches[0], Reason.PAIRING_TIME)",
    ),
    Bug(
        name="pictures are paired by order of arrival",
        module=PAIRING,
        old="        matches = self._claimed_by(item)\n",
        new="        matches = [\n"
        "            e for e in self._parts if e.stage is _Stage.OPEN and item.camera not in e.frames\n"
        "        ][:1]\n",
    ),
    Bug(
        name="a picture that shows two parts goes to the first",
        module=PAIRING,
        old="        elif len(matches) > 1:\n",
        new="        elif len(matches) > 99:\n",
    ),
    Bug(
        name="a second picture of one view replaces the first",
        module=PAIRING,
        old="        elif frame.camera in expected.frames:\n"
        "            self._orphan(frame, expected.part)\n"
        "            self._fail(expected, Reason.PAIRING_AMBIGUOUS)\n",
        new="",
    ),
    Bug(
        name="a second picture of a complete part is overlooked",
        module=PAIRING,
        old="        if expected.stage is _Stage.OVER:\n            self._orphan(frame, expected.part)",
        new="        if expected.stage is not _Stage.OPEN:\n            self._orphan(frame, expected.part)",
    ),
    Bug(
        name="a picture that already found its part is not tried on the next one",
        module=PAIRING,
        old="            if any(self._shows(item, part) for item in other.sights):",
        new="            if other.stage is _Stage.OPEN and any(self._shows(i, part) for i in other.sights):",
    ),
    Bug(
        name="early pictures are dropped",
        module=PAIRING,
        old="        if not matches:\n            self._keep_early(item)\n",
        new="        if not matches:\n            self._orphan(item, None)\n",
    ),
    Bug(
        name="early pictures wait without bound",
        module=PAIRING,
        old="        if len(self._early) >= self._max_early:",
        new="        if len(self._early) >= 1000:",
    ),
    Bug(
        name="a failed part keeps its slots",
        module=PAIRING,
        old="            for frame in expected.frames.values():\n",
        new="            for frame in []:\n",
    ),
    Bug(
        name="a part that is already handed out gives its slots back a second time",
        module=PAIRING,
        old="        if expected.stage is _Stage.OPEN:\n            for frame",
        new="        if expected.stage is not _Stage.OVER:\n            for frame",
    ),
    Bug(
        name="one view is enough to be complete",
        module=PAIRING,
        old="            if len(expected.frames) == self._views:",
        new="            if len(expected.frames) >= 1:",
    ),
    Bug(
        name="a camera's fault is forgotten when its part comes later",
        module=PAIRING,
        old="        elif isinstance(item, _Fault):\n            self._fail(matches[0], item.reason)\n",
        new="        elif isinstance(item, _Fault):\n            pass\n",
    ),
    Bug(
        name="a part whose picture never comes waits for ever",
        module=PAIRING,
        old="                self._fail(expected, Reason.FRAME_MISSING, only_open=True)",
        new="                pass",
    ),
    Bug(
        name="encoder distances of pictures do not wrap",
        module=WINDOW,
        old="encoder_within(encoder_pulses, part.encoder_pulses, self.pulses)",
        new="abs(encoder_pulses - part.encoder_pulses) <= self.pulses",
    ),
)
