# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight data`: import, check, snapshot, split, review and export pictures and parts.

Each subcommand is a module of `datasets.commands` named in `COMMANDS`; only the one asked for is imported.
Exit codes: 0 done, 1 looked and found fault (`ok` is false in the answer), 2 wrong usage, 3 refused with
one sentence. With `--json` the answer, a refusal included, is one JSON object on standard output.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from inspection.types import StationFault

EXIT_FAULT_FOUND = 1
EXIT_REFUSED = 3

COMMANDS: dict[str, tuple[str, str]] = {
    "snapshot": ("datasets.commands.snapshot_data", "fix what a training is given, and compare with before"),
    "split": ("datasets.commands.split_data", "give labelled pictures their sides: train, val, test"),
    "golden": ("datasets.commands.golden_data", "lock pictures that no training may ever learn from"),
    "next": ("datasets.commands.next_data", "what a person should look at next, with the reason"),
    "review": ("datasets.commands.review_data", "say of parts of the line whether they are good"),
    "audit": (
        "datasets.commands.audit_data",
        "draw parts of the line by chance; rates from those",
    ),
    "import": ("datasets.commands.import_data", "take in labelled pictures from a folder, file or archive"),
    "check": ("datasets.commands.check_data", "say whether pictures and labels are ready to be trained on"),
    "export": ("datasets.commands.export_data", "write pictures and labels in an interchange format"),
}
"""Name -> (module, one line of help)."""


class Command(Protocol):
    """What a module of `datasets.commands` offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add its options; `--json` is there already."""
        ...

    def run(self, args: argparse.Namespace) -> Mapping[str, Any]:
        """Do it and return the answer: `said` is the text for people, the rest is for programs."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code says how it went."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="gatesight data",
        description="Labelled pictures: in, out, and what stands in between.",
        epilog="Exit codes: 0 done, 1 looked and found fault, 2 wrong usage, 3 refused.",
    )
    choices = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen: Command | None = None
    for name, (module, help_text) in COMMANDS.items():
        sub = choices.add_parser(name, help=help_text, description=help_text)
        sub.add_argument("--json", action="store_true", help="print one JSON object for programs to read")
        if name in words[:1]:
            chosen = cast("Command", importlib.import_module(module))
            chosen.add_arguments(sub)
    args = parser.parse_args(words)
    assert chosen is not None  # noqa: S101 - argparse lets none but the names above pass
    try:
        answer = dict(chosen.run(args))
    except StationFault as fault:
        if args.json:
            _say(json.dumps({"ok": False, "error": str(fault)}, ensure_ascii=False))
        sys.stderr.write(f"{fault}\n")
        return EXIT_REFUSED
    said = answer.pop("said", "")
    answer.setdefault("ok", True)
    _say(json.dumps(answer, ensure_ascii=False) if args.json else said)
    return 0 if answer["ok"] else EXIT_FAULT_FOUND


def _say(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")


if __name__ == "__main__":
    sys.exit(main())
