# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every command that puts something on record asks: who does it."""

from __future__ import annotations

import argparse
import getpass

from inspection.types import StationFault


def add_who(parser: argparse.ArgumentParser, does: str) -> None:
    """--who; `does` says what that person does: `says so`, `takes it`."""
    parser.add_argument("--who", metavar="NAME", help=f"who {does}; default: the user's name")


def person(args: argparse.Namespace) -> str:
    """Who was named with --who, else who runs the command, by the name of the account."""
    if args.who:
        return args.who
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        raise StationFault("This account has no name: say who you are with --who NAME.") from None
