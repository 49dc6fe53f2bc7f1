# SPDX-License-Identifier: AGPL-3.0-or-later
"""What people taught: images, labels, snapshots, splits. Filled by the learning loop."""
