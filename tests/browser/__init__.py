# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console as a person sees it, in Chromium."""
