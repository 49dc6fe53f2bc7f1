# SPDX-License-Identifier: AGPL-3.0-or-later
"""Our own backbone for good-only detection, pre-trained on pictures that formulas draw: no natural image, no
file.
"""
