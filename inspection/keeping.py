# SPDX-License-Identifier: AGPL-3.0-or-later
# pyright: strict
"""Which passed parts keep their pictures: a share of them, by a hash of the part, so that replay agrees. Pure.

The draw does not look at the part, so what is kept is a random sample of the passes, and the audit
(`datasets/line_audit.py`) may draw from it: it knows with which probability.
"""

from __future__ import annotations

import zlib


def keep_chance(epoch: int, ordinal: int) -> float:
    """A number in 0..1, evenly spread over parts; pictures of a pass are kept where it is below the share."""
    return zlib.crc32(b"%d:%d" % (epoch, ordinal)) / 2**32
