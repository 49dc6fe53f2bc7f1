# SPDX-License-Identifier: AGPL-3.0-or-later
"""The simulated line: belt, renderer and soft PLC. Knows the contract, never the station's code."""
