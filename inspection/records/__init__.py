# SPDX-License-Identifier: AGPL-3.0-or-later
"""The records database: a projection of the journal that can be rebuilt from it at any time."""
