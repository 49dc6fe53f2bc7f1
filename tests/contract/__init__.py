# SPDX-License-Identifier: AGPL-3.0-or-later
"""The line contract's invariants, against an oracle that shares no code with the station."""
