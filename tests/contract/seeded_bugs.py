# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small, realistic mistakes in the contract core. The suite must catch every one of them."""

from __future__ import annotations

from tests.contract.code import Bug

COUNTING = "inspection.counting"
WINDOW = "inspection.window"
REGISTERS = "inspection.gates.registers"
RINGS = "inspection.gates.plc_rings"
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
        old="        if not all(\n            window.shows(",
        new="        if not any(\n            window.shows(",
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
        old="        trigger_ns = since_ns - self._settings.poll_ns",
        new="        trigger_ns = since_ns",
    ),
    Bug(
        name="a trigger that lay in its socket is taken for new",
        module=TRACKER,
        old="        since_ns = max(min(since_ns, now_ns), now_ns - self._settings.deadline_ns)",
        new="        since_ns = now_ns",
    ),
    Bug(
        name="a trigger that comes after its deadline is announced",
        module=TRACKER,
        old="        if part.ref.deadline_ns <= now_ns:\n",
        new="        if part.ref.deadline_ns < 0:\n",
    ),
    Bug(
        name="a part that may have left its place is photographed all the same",
        module=TRACKER,
        old="now_ns - part.ref.trigger_ns >= self._settings.fire_limit_ns",
        new="now_ns - part.ref.trigger_ns >= 10 * self._settings.fire_limit_ns",
    ),
    Bug(
        name="the fire limit runs from the last look, not from the edge",
        module=TRACKER,
        old="now_ns - part.ref.trigger_ns >= self._settings.fire_limit_ns",
        new="now_ns - part.ref.trigger_ns - self._settings.poll_ns >= self._settings.fire_limit_ns",
    ),
    Bug(
        name="the gate does not look at the exposure instant",
        module=TRACKER,
        old="        if not all(self._in_time(ref, view) for view in judged.views):",
        new="        if not any(self._in_time(ref, view) for view in judged.views):",
    ),
    Bug(
        name="a picture that was fired late is believed like one of a wired camera",
        module=TRACKER,
        old="        if view.camera in self._settings.fired and view.exposure_ns >= late_ns:\n",
        new="        if view.camera in self._settings.fired and view.exposure_ns > late_ns + 10**8:\n",
    ),
    Bug(
        name="the band begins at the earliest instant",
        module=WINDOW,
        old="        if since_trigger_ns < -self.time_ns:",
        new="        if since_trigger_ns < 0:",
    ),
    Bug(
        name="pictures from before the trigger are believed",
        module=WINDOW,
        old="        if since_trigger_ns < -self.time_ns:",
        new="        if since_trigger_ns < -100 * self.time_ns:",
    ),
    Bug(
        name="the band forgets that the trigger instant is not known exactly",
        module=WINDOW,
        old="since_trigger_ns <= part.edge_spread_ns + self.time_ns",
        new="since_trigger_ns <= self.time_ns",
    ),
    Bug(
        name="a picture without a stamp is held to the band",
        module=WINDOW,
        old="        return not stamped or since_trigger_ns",
        new="        return since_trigger_ns",
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
        old="encoder_within(encoder_pulses, part.encoder_pulses, self.pulses)",
        new="encoder_within(encoder_pulses, part.encoder_pulses, 2 * self.pulses)",
    ),
    Bug(
        name="a picture without encoder count is taken",
        module=WINDOW,
        old="        if encoder_pulses is None:\n            return False",
        new="        if encoder_pulses is None:\n            return True",
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
