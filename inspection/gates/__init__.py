# SPDX-License-Identifier: AGPL-3.0-or-later
"""The register image and one file a fieldbus protocol."""
