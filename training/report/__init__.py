# SPDX-License-Identifier: AGPL-3.0-or-later
"""An evaluation as one self-contained page that a manager can read and an auditor can keep."""
