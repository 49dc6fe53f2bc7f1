# SPDX-License-Identifier: AGPL-3.0-or-later
"""The decision: frame to findings to verdict to gate."""
