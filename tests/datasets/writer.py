# SPDX-License-Identifier: AGPL-3.0-or-later
"""A process that adds pictures to a home for ever and says on its output what was acknowledged.

`python -m tests.datasets.writer HOME NAME [torn]`: two pictures an act. `torn` is the failing control: facts
are added one by one, each in an act of its own, as a store without transactions would do.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from datasets.adding import add
from datasets.store import open_home
from tests.datasets.homes import box, labelled_set, picture


def main(folder: Path, name: str, torn: bool) -> None:
    scratch = folder.parent / f"pictures of {name}"
    with open_home(folder, create=True) as home:
        number = 0
        while True:
            pair = []
            for _ in range(2):
                one = picture(scratch, number, box())
                pair.append(replace(one, name=f"{name}/{one.name}"))
                number += 1
            for given in [labelled_set(one) for one in pair] if torn else [labelled_set(*pair)]:
                add(home, given, who=name, why="writing")
            sys.stdout.write(" ".join(one.name for one in pair) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["torn"])
