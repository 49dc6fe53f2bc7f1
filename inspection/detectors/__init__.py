# SPDX-License-Identifier: AGPL-3.0-or-later
"""Engines behind one protocol, one file a runtime."""
