# SPDX-License-Identifier: AGPL-3.0-or-later
"""From labelled pictures to a candidate bundle: train, export with parity proof, evaluate at part level."""
