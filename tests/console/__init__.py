# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console: accounts, permissions, pages, API, live socket."""
