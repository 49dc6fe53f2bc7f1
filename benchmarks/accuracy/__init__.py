# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the supervised recipes reach on public data."""
