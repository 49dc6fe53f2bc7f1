# SPDX-License-Identifier: AGPL-3.0-or-later
"""Model bundles: format, signatures, the default bundle that ships."""
