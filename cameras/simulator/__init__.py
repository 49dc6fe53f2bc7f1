# SPDX-License-Identifier: AGPL-3.0-or-later
"""The simulated camera: our own GenTL producer in C (linesim.cti), its build, its device XML and its feed."""
