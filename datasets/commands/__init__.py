# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data NAME`: one module a subcommand, each with HELP, add_arguments(parser) and run(args).

`run` returns what to tell: a mapping for programs (`--json`), with `said` in it for people. It raises
StationFault to refuse. `datasets/cli.py` does the rest, and imports the one module that was asked for.
"""
