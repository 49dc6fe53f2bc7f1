# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small, realistic mistakes in the contract core. The suite must catch every one of them."""

from __future__ import annotations

from tests.contract.code import Bug

COUNTING = "inspection.counting"
WINDOW = "inspection.window"
REGISTERS = "inspection.gates.registers"
RINGS = "inspection.gates.plc_rings"
PAIRING = "inspection.pairing"
TRACKER = "inspection.tracker"

LINE_BUGS = (
    Bug(
        name="a PASS goes out at its deadline, not strictly before",
        module=TRACKER,
        old="(p for p in self._in_flight if p.ref.deadline_ns <= now_ns and",
        new="(p for p in self._in_flight if p.ref.deadline_ns < now_ns and",
    ),
    Bug(
        name="a PASS is published before its record is on disk",
        module=TRACKER,
        old="not (part.durable and now_ns < part.ref.deadline_ns)",
        new="not now_ns < part.ref.deadline_ns",
    ),
    Bug(
        name="the epoch of a verdict is not looked at",
        module=TRACKER,
        old="(part.ref.epoch, part.ref.ordinal, part.ref.seq) == (judged.epoch, judged.ordinal, judged.seq)",
        new="(part.ref.ordinal, part.ref.seq) == (judged.ordinal, judged.seq)",
    ),
    Bug(
        name="the sequence number of a verdict is not looked at",
        module=TRACKER,
        old="(part.ref.epoch, part.ref.ordinal, part.ref.seq) == (judged.epoch, judged.ordinal, judged.seq)",
        new="(part.ref.epoch, part.ref.ordinal) == (judged.epoch, judged.ordinal)",
    ),
    Bug(
        name="verdicts are given to the oldest open part, in order of arrival",
        module=TRACKER,
        old="        part = self._find(judged, self._in_flight)\n",
        new="        part = next((p for p in self._in_flight if p.outcome is None), None)\n",
    ),
    Bug(
        name="a fault leaves decided PASSes standing",
        module=TRACKER,
        old="            if part.outcome is not Outcome.REJECT:\n                self._close(part, reason)",
        new="            if part.outcome is None:\n                self._close(part, reason)",
    ),
    Bug(
        name="a fault closes nothing",
        module=TRACKER,
        old="        self._close_all(reason)\n        return self._settle(now_ns)",
        new="        return self._settle(now_ns)",
    ),
    Bug(
        name="an outcome is overwritten after publication",
        module=TRACKER,
        old="        if not part.published and part.outcome is not Outcome.NOT_INSPECTED:",
        new="        if part.outcome is not Outcome.NOT_INSPECTED:",
    ),
    Bug(
        name="outcomes go out as they are ready, not in trigger order",
        module=TRACKER,
        old="            self._publish(self._in_flight.popleft(), outcome, now_ns)",
        new="            self._publish(self._in_flight.pop(), outcome, now_ns)",
    ),
    Bug(
        name="of two parts too close, the first still passes",
        module=TRACKER,
        old="                self._close(before, Reason.PITCH_TOO_SMALL)\n",
        new="",
    ),
    Bug(
        name="parts at exactly the minimum pitch are refused",
        module=TRACKER,
        old="            elif step_pulses < self._settings.min_pitch_pulses:",
        new="            elif step_pulses <= self._settings.min_pitch_pulses:",
    ),
    Bug(
        name="an encoder that runs backwards is not noticed",
        module=TRACKER,
        old="            if step_pulses < 0:",
        new="            if step_pulses < -(1 << 31):",
    ),
    Bug(
        name="the trigger after a re-arm is compared with a part from before it",
        module=TRACKER,
        old="        self._last_placed = None\n        return",
        new="        return",
    ),
    Bug(
        name="pictures are not checked against the trigger",
        module=TRACKER,
        old="        if not all(window.matches(",
        new="        if not any(window.matches(",
    ),
    Bug(
        name="one view is enough",
        module=TRACKER,
        old="        if sorted(view.camera for view in judged.views) != list(range(self._settings.views)):",
        new="        if not judged.views:",
    ),
    Bug(
        name="a verdict made under another recipe is believed",
        module=TRACKER,
        old="        if judged.recipe_sha256 != self._recipe_sha256:",
        new="        if not judged.recipe_sha256:",
    ),
    Bug(
        name="a conflicting second verdict is ignored",
        module=TRACKER,
        old="            self._close(part, Reason.VERDICT_CONFLICT)",
        new="            pass",
    ),
    Bug(
        name="the last of two conflicting verdicts wins",
        module=TRACKER,
        old="            self._close(part, Reason.VERDICT_CONFLICT)",
        new="            self._decide(part, judged.verdict.outcome, ())",
    ),
    Bug(
        name="a verdict after the station's own decision replaces it",
        module=TRACKER,
        old="        elif part.outcome is not None:\n            self._late += 1\n",
        new="",
    ),
    Bug(
        name="a late durable revives a PASS closed in the meantime",
        module=TRACKER,
        old="and part.outcome is Outcome.PASS:\n                part.durable = True",
        new="and part.judged:\n                part.durable, part.outcome = True, Outcome.PASS",
    ),
    Bug(
        name="the deadline runs from the message's arrival",
        module=TRACKER,
        old="        trigger_ns = now_ns - self._settings.poll_ns",
        new="        trigger_ns = now_ns",
    ),
    Bug(
        name="overdue parts are closed only by the clock tick",
        module=TRACKER,
        old='believed, distrusted, or counted and ignored."""\n        self._close_overdue(now_ns)\n',
        new='believed, distrusted, or counted and ignored."""\n',
    ),
    Bug(
        name="everything is rejected",
        module=TRACKER,
        old="            self._decide(part, judged.verdict.outcome, judged.verdict.reasons)",
        new="            self._decide(part, Outcome.REJECT, judged.verdict.reasons)",
    ),
    Bug(
        name="a full tracker forgets its oldest part",
        module=TRACKER,
        old="            self._close(self._in_flight[0], Reason.SHED)",
        new="            self._in_flight.popleft()",
    ),
    Bug(
        name="encoder distances do not wrap",
        module=COUNTING,
        old="    distance = (later - earlier) % ENCODER_SPAN\n"
        "    return distance - ENCODER_SPAN if distance >= ENCODER_SPAN // 2 else distance",
        new="    return later - earlier",
    ),
    Bug(
        name="0 is used as a sequence number",
        module=COUNTING,
        old="    return Seq(seq % SEQ_COUNT + 1)",
        new="    return Seq((seq + 1) % (SEQ_COUNT + 1))",
    ),
    Bug(
        name="sequence distances wrap at 65536",
        module=COUNTING,
        old="    return (newer - older) % SEQ_COUNT",
        new="    return (newer - older) % (SEQ_COUNT + 1)",
    ),
    Bug(
        name="the pair window is a whole pitch",
        module=WINDOW,
        old="abs(encoder_delta(encoder_pulses, part.encoder_pulses)) <= self.pulses",
        new="abs(encoder_delta(encoder_pulses, part.encoder_pulses)) <= 2 * self.pulses",
    ),
    Bug(
        name="a picture without encoder count is taken",
        module=WINDOW,
        old="            if encoder_pulses is None:\n                return False",
        new="            if encoder_pulses is None:\n                return True",
    ),
    Bug(
        name="newest_seq is written before its slot",
        module=REGISTERS,
        old="        self.store(at + 2, outcome)\n",
        new="        self.store(Input.NEWEST_SEQ, seq)\n        self.store(at + 2, outcome)\n",
    ),
    Bug(
        name="the check word is that of the seq alone, and so it is stale-proof no more",
        module=REGISTERS,
        old="    return seq ^ epoch ^ verdict",
        new="    return seq ^ epoch",
    ),
    Bug(
        name="the verdict ring is one slot short",
        module=REGISTERS,
        old="    return VERDICT_RING_AT + VERDICT_WORDS * (seq % VERDICT_SLOTS)",
        new="    return VERDICT_RING_AT + VERDICT_WORDS * (seq % (VERDICT_SLOTS - 1))",
    ),
    Bug(
        name="the snapshot is not rebuilt for every change",
        module=REGISTERS,
        old="            self._input[address] = word\n            self._input_bytes = None",
        new="            self._input[address] = word\n"
        "            self._input_bytes = None if address >= 16 else self._input_bytes",
    ),
    Bug(
        name="the verdict ring survives a re-arm",
        module=REGISTERS,
        old="        for address in range(VERDICT_RING_AT, INPUT_COUNT):\n            self.store(address, 0)\n",
        new="",
    ),
    Bug(
        name="the baseline counts as a trigger",
        module=RINGS,
        old='        """Take the newest number as the baseline: it is no trigger. Returns it."""\n'
        "        self._last = holding[Holding.NEWEST_TRIGGER_SEQ]\n        return self._last",
        new="        self._last = (holding[Holding.NEWEST_TRIGGER_SEQ] - 2) % 65535 + 1\n"
        "        return holding[Holding.NEWEST_TRIGGER_SEQ]",
    ),
    Bug(
        name="only the newest trigger between two polls counts",
        module=RINGS,
        old="        for _ in range(steps):\n            seq = next_seq(seq)\n            triggers.append",
        new="        for seq in [Seq(newest)]:\n            triggers.append",
    ),
    Bug(
        name="a skipped number is read from whatever its slot holds",
        module=RINGS,
        old="    if found != seq:\n",
        new="    if found == 0:\n",
    ),
    Bug(
        name="a gap of 15 is still taken for skipped triggers",
        module=RINGS,
        old="LONGEST_GAP = 14",
        new="LONGEST_GAP = 15",
    ),
    Bug(
        name="the encoder's words are swapped",
        module=RINGS,
        old="high << 16 | low",
        new="low << 16 | high",
    ),
)

PAIRING_BUGS = (
    Bug(
        name="pictures are paired by order of arrival",
        module=PAIRING,
        old="[expected for expected in self._parts if self._shows(item, expected.part)]",
        new="[e for e in self._parts if e.stage is _Stage.OPEN and item.camera not in e.frames][:1]",
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
        module=COUNTING,
        old="    distance = (later - earlier) % ENCODER_SPAN\n"
        "    return distance - ENCODER_SPAN if distance >= ENCODER_SPAN // 2 else distance",
        new="    return later - earlier",
    ),
)
