# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal on the command line: `python -m inspection.journal verify|dump FOLDER [--json]`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from inspection.journal_reader import read, verify
from inspection.types import StationFault


def main(argv: list[str]) -> int:
    """`verify FOLDER` or `dump FOLDER`; 0 when the journal is whole, 1 when it is not, 2 for bad usage."""
    as_json, argv = "--json" in argv, [word for word in argv if word != "--json"]
    if len(argv) != 2 or argv[0] not in ("verify", "dump"):
        sys.stderr.write("usage: python -m inspection.journal verify|dump FOLDER\n")
        return 2
    folder = Path(argv[1])
    try:
        if argv[0] == "dump":
            for entry in read(folder):
                at = entry.position
                sys.stdout.write(f"{entry.index} {at.segment}:{at.offset} {entry.record}\n")
        found = verify(folder)
    except (StationFault, OSError) as e:
        sys.stdout.write(json.dumps({"ok": False, "error": str(e)}) + "\n" if as_json else "")
        sys.stderr.write(f"{e}\n")
        return 1
    if as_json:
        sys.stdout.write(json.dumps({"ok": True, **asdict(found), "chain": found.chain.hex()}) + "\n")
        return 0
    torn = f", {found.torn_bytes} torn bytes behind them (an unclean stop)" if found.torn_bytes else ""
    older = f" from record {found.first_index} on (older segments were removed)" if found.first_index else ""
    out = sys.stderr if argv[0] == "dump" else sys.stdout
    out.write(
        f"{found.records} records in {found.segments} segments verify{older}{torn}; chain {found.chain.hex()}\n"
    )
    return 0
