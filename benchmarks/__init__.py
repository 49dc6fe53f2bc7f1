# SPDX-License-Identifier: AGPL-3.0-or-later
"""Measured ratios against the bare engine and the physical floor."""
