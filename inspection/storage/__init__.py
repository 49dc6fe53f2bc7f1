# SPDX-License-Identifier: AGPL-3.0-or-later
"""What keeps things on disk for good: pictures named by their content, databases whose upgrades are whole."""
