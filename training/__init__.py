# SPDX-License-Identifier: AGPL-3.0-or-later
"""Snapshot to candidate bundle: train, evaluate at part level, export."""
