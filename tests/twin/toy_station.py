# SPDX-License-Identifier: AGPL-3.0-or-later
"""A station of forty lines for the PLC's tests: it keeps the register contract, or breaks it where told to."""

from __future__ import annotations

from inspection.twin import contract as c

BUGS = (
    "wrong_slot", "bad_check", "other_epoch", "next_seq", "pass_after_reject", "pass_for_skipped", "late_pass",
)  # fmt: skip


class ToyStation:
    """Judges by number: each seventh is a REJECT, the others PASS, `latency_ns` after the trigger is read."""

    def __init__(self, epoch: int, latency_ns: int = 60_000_000, bug: str = "") -> None:
        self.epoch, self.latency_ns, self.bug = epoch, latency_ns, bug
        self.burst_ns, self.last_burst_ns = 0, 0
        self.image = [0] * c.INPUT_REGISTERS
        self.image[c.IN_MAP_VERSION] = 1
        self.image[c.IN_EPOCH] = epoch
        self.image[c.IN_STATE] = c.STATE_READY
        self.image[c.IN_STATUS] = c.STATUS_READY
        self.newest = 0
        self.waiting: list[tuple[int, int, int]] = []
        self.alive = True
        self.triggers: list[int] = []

    def write(self, now_ns: int, words: list[int]) -> None:
        armed = self.image[c.IN_STATE] == c.STATE_CONTINUOUS
        arm = bool(words[c.OUT_CONTROL] & c.CONTROL_ARM) and words[c.OUT_EPOCH_ECHO] == self.epoch
        if arm and self.image[c.IN_STATE] == c.STATE_READY:
            self.newest = words[c.OUT_NEWEST_TRIGGER]
            self.image[c.IN_STATE] = c.STATE_CONTINUOUS
        elif armed and not arm:
            self.image[c.IN_STATE] = c.STATE_READY
        elif armed:
            while self.newest != words[c.OUT_NEWEST_TRIGGER]:
                self.newest = c.next_seq(self.newest)
                first = c.OUT_TRIGGERS + 4 * (self.newest % c.TRIGGER_SLOTS)
                told = words[first] == self.newest
                self.triggers.append(self.newest if told else 0)
                verdict = c.VERDICT_REJECT if self.newest % 7 == 0 else c.VERDICT_PASS
                if not told:
                    verdict = c.VERDICT_PASS if self.bug == "pass_for_skipped" else c.VERDICT_NOT_INSPECTED
                latency = self.latency_ns
                if self.bug == "late_pass" and self.newest % 7 == 3:
                    latency = 330_000_000
                self.waiting.append((now_ns + latency, self.newest, verdict))
                if self.bug == "pass_after_reject" and verdict == c.VERDICT_REJECT:
                    self.waiting.append((now_ns + latency + 30_000_000, self.newest, c.VERDICT_PASS))
            self.image[c.IN_TRIGGER_ACK_SEQ] = self.newest

    def read(self, now_ns: int) -> tuple[int, ...]:
        if self.alive:
            self.image[c.IN_HEARTBEAT] = (now_ns // 50_000_000) & 0xFFFF
            if now_ns - self.last_burst_ns < self.burst_ns:
                return tuple(self.image)
            self.last_burst_ns = now_ns
            for item in sorted(w for w in self.waiting if w[0] <= now_ns):
                self.waiting.remove(item)
                self._publish(item[1], item[2])
        return tuple(self.image)

    def _publish(self, seq: int, verdict: int) -> None:
        odd = seq % 7 == 3  # the parts a bug touches
        if self.bug == "next_seq" and odd:
            seq = c.next_seq(seq + 40)
        epoch = self.epoch ^ 0x0101 if self.bug == "other_epoch" and odd else self.epoch
        slot = (seq + (1 if self.bug == "wrong_slot" and odd else 0)) % c.VERDICT_SLOTS
        check = seq ^ epoch ^ verdict ^ (4 if self.bug == "bad_check" and odd else 0)
        first = c.IN_VERDICTS + 4 * slot
        self.image[first : first + 4] = [seq, epoch, verdict, check]
        self.image[c.IN_NEWEST_SEQ] = seq
