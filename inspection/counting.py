# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""Numbers that wrap: trigger numbers (1..65535, then 1 again) and encoder counts (unsigned 32 bit). Pure.

Every comparison of two such numbers in the station goes through these few functions, so that a roll-over
can have no effect (line contract, invariant 7).
"""

from __future__ import annotations

from inspection.types import Seq

SEQ_COUNT = 65535
"""How many trigger numbers there are; 0 is none of them."""
ENCODER_SPAN = 1 << 32


def next_seq(seq: int) -> Seq:
    """The number after `seq`: 65535 is followed by 1. 0 ("no trigger yet") is followed by 1 too."""
    return Seq(seq % SEQ_COUNT + 1)


def previous_seq(seq: int) -> Seq:
    """The number before `seq`: 1 is preceded by 65535."""
    return Seq((seq - 2) % SEQ_COUNT + 1)


def seq_distance(newer: int, older: int) -> int:
    """How many steps of `next_seq` lead from `older` to `newer`, 0..65534."""
    return (newer - older) % SEQ_COUNT


def encoder_within(one: int, other: int, pulses: int) -> bool:
    """Whether two encoder counts lie at most `pulses` apart, either way round.

    The distance on the 32-bit circle in one expression: this is asked for every part on record.
    """
    return (one - other + pulses) % ENCODER_SPAN <= 2 * pulses


def encoder_delta(later: int, earlier: int) -> int:
    """Signed distance on the 32-bit encoder, -2**31 <= result < 2**31; negative means backwards."""
    distance = (later - earlier) % ENCODER_SPAN
    return distance - ENCODER_SPAN if distance >= ENCODER_SPAN // 2 else distance
