# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tests of the gate process and its Modbus server."""
