# SPDX-License-Identifier: AGPL-3.0-or-later
"""Light to frames: GenICam acquisition into shared memory."""
