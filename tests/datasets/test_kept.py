# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was measured once is not measured again; other bytes are another row; nothing rests on the file."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.adding import add
from datasets.cli import main
from datasets.features import plain_features
from datasets.kept import LOOKS_NAME, Kept
from datasets.labels import LabelledSet
from datasets.likeness import Looks, looks
from datasets.readiness_pixels import measure
from datasets.store import DatasetHome, open_home
from datasets.suspects import box_suspects
from tests.datasets.drawn import some, surface
from tests.datasets.homes import WHO, WHY


def same(one: Looks, other: Looks) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("hashes", "features", "thumbnails")
    )


def rewrite(file: Path, what: str) -> int:
    """Fill every kept array of one kind with zeros; how many there were."""
    with closing(sqlite3.connect(file)) as connection, connection:
        rows = connection.execute("SELECT what, of, data FROM looks WHERE what LIKE ?", (what,)).fetchall()
        for name, content, data in rows:
            out = io.BytesIO()
            np.save(out, np.zeros_like(np.load(io.BytesIO(data))))
            connection.execute(
                "UPDATE looks SET data = ? WHERE what = ? AND of = ?", (out.getvalue(), name, content)
            )
    return len(rows)


def test_what_was_measured_is_taken_from_the_file_and_other_bytes_are_measured(tmp_path: Path) -> None:
    pictures, file = some(tmp_path / "p", range(6)), tmp_path / LOOKS_NAME
    first = looks(pictures, plain_features, Kept(file))
    assert same(looks(pictures, plain_features), first)
    assert same(looks(pictures, plain_features, Kept(file)), first)
    assert rewrite(file, "thumbnail%") == 6
    assert not looks(pictures, plain_features, Kept(file)).thumbnails.any(), "it comes from the file"
    cv2.imwrite(str(pictures[2].path), surface(77))
    seen = looks(pictures, plain_features, Kept(file)).thumbnails
    assert [i for i in range(6) if seen[i].any()] == [2]
    # another name for the same bytes is no other picture
    again = replace(pictures[2], name="again.png")
    assert np.array_equal(looks([again], plain_features, Kept(file)).thumbnails[0], seen[2])


def test_measures_and_boxes_are_kept_too_and_a_moved_box_is_another(tmp_path: Path) -> None:
    pictures, file = some(tmp_path / "p", range(24), bad_every=2), tmp_path / LOOKS_NAME
    marked = [
        replace(p, labels=tuple(replace(x, class_name=f"c{n % 4 // 2}") for x in p.labels))
        for n, p in enumerate(pictures)
    ]
    fresh = box_suspects(marked, plain_features)
    assert fresh
    assert box_suspects(marked, plain_features, Kept(file)) == fresh
    assert box_suspects(marked, plain_features, Kept(file)) == fresh
    assert rewrite(file, "boxes%") == 12
    assert box_suspects(marked, plain_features, Kept(file)) != fresh, "it comes from the file"
    box = marked[0].labels[0].box
    moved = replace(marked[0].labels[0], box=replace(box, x0_px=box.x0_px - 3))
    box_suspects([replace(marked[0], labels=(moved,)), *marked[1:]], plain_features, Kept(file))
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM looks WHERE what LIKE 'boxes%'").fetchone() == (13,)
    assert measure(marked, Kept(file)) == measure(marked) == measure(marked, Kept(file))
    assert rewrite(file, "measured%") == 24
    assert not any(one.mean_grey for one in measure(marked, Kept(file)).values())


def test_a_description_without_a_name_is_never_kept(tmp_path: Path) -> None:
    pictures, file = some(tmp_path / "p", range(3)), tmp_path / LOOKS_NAME
    asked = []

    def strange(shown: Sequence[np.ndarray]) -> np.ndarray:
        asked.append(len(shown))
        return np.ones((len(shown), 2), np.float32)

    for _ in range(2):
        looks(pictures, strange, Kept(file))
    assert sum(asked) == 6
    assert not file.exists()


@pytest.mark.parametrize("spoilt", [b"", b"no database", b"SQLite format 3\0" + bytes(4000)])
def test_a_damaged_file_costs_time_and_nothing_else(tmp_path: Path, spoilt: bytes) -> None:
    pictures, file = some(tmp_path / "p", range(3)), tmp_path / LOOKS_NAME
    file.write_bytes(spoilt)
    first = looks(pictures, plain_features, Kept(file))
    assert same(first, looks(pictures, plain_features))
    assert rewrite(file, "thumbnail%") == 3
    rewritten = looks(pictures, plain_features, Kept(file))
    assert not rewritten.thumbnails.any()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE looks SET data = x'00' WHERE what LIKE 'thumbnail%'")
    assert same(looks(pictures, plain_features, Kept(file)), first)


def test_a_second_check_of_a_home_says_the_same_from_what_is_kept(
    home: DatasetHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = LabelledSet(classes=("spot",), pictures=tuple(some(tmp_path / "p", range(20))), source=tmp_path)
    add(home, labelled, who=WHO, why=WHY)
    answers = []
    for _ in range(2):
        main(["check", str(home.folder), "--backbone", "plain", "--json"])
        answers.append(json.loads(capsys.readouterr().out))
        assert (home.folder / LOOKS_NAME).is_file()
    assert answers[0] == answers[1]
    assert rewrite(home.folder / LOOKS_NAME, "measured%") == 20
    main(["check", str(home.folder), "--backbone", "plain", "--json"])
    assert json.loads(capsys.readouterr().out) != answers[0]
    with open_home(home.folder) as again:  # it is no stranger in the home
        assert again.kept
