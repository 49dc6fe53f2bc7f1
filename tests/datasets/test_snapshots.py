# SPDX-License-Identifier: AGPL-3.0-or-later
"""A snapshot is fixed for good, named by its content, refused when altered, and compared with any other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets import labelling
from datasets.adding import add
from datasets.beliefs import history
from datasets.cli import main
from datasets.diffs import diff
from datasets.labels import Picture
from datasets.snapshots import find, listed, load, read_snapshot, take, usual_homes
from datasets.splits import Plan
from datasets.splitting import near_twins
from datasets.store import DatasetHome, open_home
from inspection.types import StationFault
from tests.datasets.homes import WHO, WHY, box, labelled_set, picture


def fill(home: DatasetHome, folder: Path, numbers: range = range(20), lots: int = 10) -> None:
    pictures = (
        picture(folder, n, box(), lot=f"lot {n % lots}")
        if n % 2
        else picture(folder, n, lot=f"lot {n % lots}", image_class="good")
        for n in numbers
    )
    add(home, labelled_set(*pictures), who=WHO, why=WHY)


def test_a_snapshot_is_read_as_it_was_taken(home: DatasetHome, tmp_path: Path) -> None:
    fill(home, tmp_path)
    taken = take(home, who=WHO, why="first training")
    assert taken.new
    assert sum(taken.counts.values()) == 20
    sides = read_snapshot(home, taken.id[:6])
    assert {side: len(s.pictures) for side, s in sides.items()} == {**taken.counts, "golden": 0}
    for pictures in sides.values():
        for one in pictures.pictures:
            assert one.good == (one.image_class == "good")
            assert one.path.read_bytes() == (tmp_path / one.name).read_bytes()
    lots = [{p.lot for p in sides[side].pictures} for side in ("train", "val", "test")]
    assert not lots[0] & lots[1] | lots[0] & lots[2] | lots[1] & lots[2]


def test_the_same_content_is_the_same_snapshot_in_any_home(tmp_path: Path) -> None:
    ids = []
    for name in ("one", "two"):
        with open_home(tmp_path / name, create=True) as home:
            fill(home, tmp_path)
            first = take(home, who=name, why=name)
            assert not take(home, who="again", why="again").new
            assert len(listed(home)) == 1
            ids.append(first.id)
    assert ids[0] == ids[1]
    data = (tmp_path / "one/snapshots" / f"{ids[0]}.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == ids[0]
    assert str(tmp_path).encode() not in data


def test_the_way_there_does_not_show_in_the_id(tmp_path: Path) -> None:
    """The same labels, once as they came and once with detours and in another order: one snapshot."""
    ids = []
    first, second = picture(tmp_path, 1, box(), box("dent", 3.5)), picture(tmp_path, 2)
    with open_home(tmp_path / "straight", create=True) as home:
        add(home, labelled_set(first, second), who=WHO, why=WHY)
        ids.append(take(home, who=WHO, why=WHY).id)
    with open_home(tmp_path / "detour", create=True) as home:
        add(home, labelled_set(second), who=WHO, why=WHY)
        add(home, labelled_set(replace(first, labels=(box("dent", 3.0),))), who=WHO, why=WHY)
        labelling.correct(home, history(home, first.name)[0].id, box("dent", 3.5), who="Bo", why="moved")
        labelling.mark(home, first.name, box(), who="Bo", why="overlooked")
        ids.append(take(home, who=WHO, why=WHY).id)
    assert ids[0] == ids[1]


def test_later_work_changes_no_snapshot(home: DatasetHome, tmp_path: Path) -> None:
    fill(home, tmp_path)
    taken = take(home, who=WHO, why=WHY)
    before = read_snapshot(home, taken.id)
    labelling.settle(home, "p0001.png", [box("dent", 4.0)], None, who=WHO, why="it is a dent")
    fill(home, tmp_path, range(20, 30))
    assert read_snapshot(home, taken.id) == before
    again = take(home, who=WHO, why=WHY)
    assert again.id != taken.id
    old = {p["name"]: p["side"] for p in load(home, taken.id)["pictures"]}
    new = {p["name"]: p["side"] for p in load(home, again.id)["pictures"]}
    assert {name: new[name] for name in old} == old, "a picture keeps its side"


@pytest.mark.parametrize("what", ["side", "class", "space", "cut", "gone"])
def test_an_altered_snapshot_is_refused_in_one_sentence(home: DatasetHome, tmp_path: Path, what: str) -> None:
    fill(home, tmp_path)
    taken = take(home, who=WHO, why=WHY)
    path = home.snapshots / f"{taken.id}.json"
    text = path.read_text()
    changed = {
        "side": text.replace('"side":"test"', '"side":"train"', 1),
        "class": text.replace("scratch", "scratsh", 1),
        "space": text + " ",
        "cut": text[:-10],
        "gone": "",
    }[what]
    assert changed != text
    path.unlink() if what == "gone" else path.write_text(changed)
    with pytest.raises(StationFault, match=r"Snapshot [0-9a-f]{16} (was altered|cannot be read).*backup\.$"):
        read_snapshot(home, taken.id)
    with pytest.raises(StationFault):
        diff(home, taken.id, taken.id)


@pytest.mark.parametrize("gone", [False, True])
def test_an_altered_picture_is_refused(home: DatasetHome, tmp_path: Path, gone: bool) -> None:
    fill(home, tmp_path)
    taken = take(home, who=WHO, why=WHY)
    victim = read_snapshot(home, taken.id)["train"].pictures[3].path
    victim.unlink() if gone else victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    with pytest.raises(StationFault, match=r"Picture p\d+\.png (was altered|is gone)"):
        read_snapshot(home, taken.id)


def test_golden_pictures_never_train(home: DatasetHome, tmp_path: Path) -> None:
    fill(home, tmp_path)
    first = take(home, who=WHO, why=WHY)
    victim = read_snapshot(home, first.id)["train"].pictures[0]
    twin = replace(victim, name="copy.png", path=tmp_path / victim.name, lot="another lot")
    add(home, labelled_set(twin), who=WHO, why=WHY)
    labelling.lock_golden(home, [victim.name], who=WHO, why="the golden set of 2026")
    with pytest.raises(StationFault, match=f"golden by now.*{victim.name}"):
        read_snapshot(home, first.id)
    second = read_snapshot(home, take(home, who=WHO, why=WHY).id)
    assert [p.name for p in second["golden"].pictures] == [victim.name]
    for side in ("train", "val"):
        for one in second[side].pictures:
            assert one.lot != victim.lot
            assert one.path != victim.path, "nor its bytes under another name"


def test_the_golden_command_says_who_knows_them_already(
    home: DatasetHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(home, tmp_path)
    first = take(home, who=WHO, why=WHY)
    tested = [p.name for p in read_snapshot(home, first.id)["test"].pictures]
    words = ["golden", str(home.folder), "--who", "Ann", "--json"]
    assert main([*words, "--side", "test"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["new"], told["learnt_in"]) == (len(tested), {})
    second = read_snapshot(home, take(home, who=WHO, why=WHY).id)
    assert sorted(p.name for p in second["golden"].pictures) == sorted(tested)
    (tmp_path / "names.txt").write_text(second["train"].pictures[0].name + "\n")
    assert main([*words, "--names", str(tmp_path / "names.txt")]) == 0
    assert len(json.loads(capsys.readouterr().out)["learnt_in"]) == 2
    assert main(words) == 3
    assert main([*words, "--name", "none.png"]) == 3
    assert "nothing was locked" in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]


def test_what_changed_is_told_with_who_and_why(home: DatasetHome, tmp_path: Path) -> None:
    fill(home, tmp_path)
    first = take(home, who=WHO, why=WHY)
    labelling.settle(home, "p0001.png", [box("dent")], None, who="Bo", why="a dent, look at the shadow")
    labelling.take_away(home, history(home, "p0003.png")[0].id, who="Cy", why="dust")
    new = labelling.mark(home, "p0000.png", box("chip", 2.0), who="Di", why="overlooked")
    labelling.correct(home, new, box("chip", 2.5), who="Ed", why="further right")
    record = history(home, "p0005.png")[0]
    back = labelling.correct(home, record.id, box("dent"), who="Bo", why="?")
    labelling.correct(home, back, box(), who="Bo", why="no, it was right")
    labelling.link(home, "p0007.png", part="P7", who="Ann", why="the tag was found")
    fill(home, tmp_path, range(20, 22))
    second = take(home, who=WHO, why=WHY)
    changes = diff(home, first.id[:8], second.id[:8])
    plain = changes.to_plain()
    assert plain["pictures"] == {"added": ["p0020.png", "p0021.png"], "removed": []}
    (changed,), (removed,), (added,) = (plain["labels"][kind] for kind in ("changed", "removed", "added"))
    assert (changed["picture"], changed["before"]["class"], changed["after"]["class"]) == (
        "p0001.png",
        "scratch",
        "dent",
    )
    assert [(one["who"], one["why"]) for one in changed["by"]] == [("Bo", "a dent, look at the shadow")]
    assert (removed["picture"], removed["after"], removed["by"][0]["who"]) == ("p0003.png", None, "Cy")
    assert (added["picture"], added["after"]["box"][0]) == ("p0000.png", 2.5)
    assert [one["who"] for one in added["by"]] == ["Di", "Ed"]
    assert plain["classes"] == {"added": ["chip"], "removed": []}
    assert plain["links"] == [{"picture": "p0007.png", "of": "part", "before": None, "after": "P7"}]
    text = changes.text()
    for part in ("2 added", "p0001.png: scratch -> dent by Bo", "p0003.png: scratch removed by Cy", "chip"):
        assert part in text
    assert diff(home, second.id, first.id) == changes, "told from the older to the newer"
    assert diff(home, first.id, first.id).labels == ()


def test_a_snapshot_is_found_by_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_home(tmp_path / "dataset", create=True) as home:
        fill(home, tmp_path)
        taken = take(home, who=WHO, why=WHY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATESIGHT_DATASET", raising=False)
    assert find(taken.id[:7]) == (Path("dataset"), taken.id)
    monkeypatch.setenv("GATESIGHT_DATASET", str(tmp_path / "elsewhere"))
    with pytest.raises(StationFault, match="elsewhere"):
        find(taken.id)
    assert find(taken.id, usual_homes(tmp_path / "dataset"))[1] == taken.id
    for wrong in ("xyz", "12", "../../etc", taken.id + "0"):
        with pytest.raises(StationFault, match="hexadecimal"):
            find(wrong, [tmp_path / "dataset"])


def test_without_labelled_pictures_there_is_no_snapshot(home: DatasetHome, tmp_path: Path) -> None:
    with pytest.raises(StationFault, match="no labelled picture"):
        take(home, who=WHO, why=WHY)
    add(home, labelled_set(picture(tmp_path, 1)), who=WHO, why=WHY, unlabelled=True)
    with pytest.raises(StationFault, match="no labelled picture"):
        take(home, who=WHO, why=WHY)
    assert listed(home) == []
    assert not home.snapshots.exists()


def test_the_commands_say_it_for_people_and_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_home(tmp_path / "home", create=True) as home:
        fill(home, tmp_path)
    where = str(tmp_path / "home")

    def tell(*words: str) -> dict:
        assert main([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    sides = tell("split", where, "--by", "lot", "--seed", "3", "--who", "Ann")
    assert sum(sides["counts"].values()) == 20
    first = tell("snapshot", where, "--who", "Ann", "--note", "before the fair")
    assert first["counts"] == sides["counts"], "a snapshot keeps the sides that a split gave"
    with open_home(tmp_path / "home") as home:
        labelling.mark(home, "p0000.png", box("dent"), who="Bo", why="overlooked")
    second = tell("snapshot", where)
    assert tell("snapshot", where, "--list")["snapshots"][0]["who"] == "Ann"
    changes = tell("snapshot", where, "--diff", first["snapshot"][:10], second["snapshot"][:10])
    assert changes["labels"]["added"][0]["by"][0]["who"] == "Bo"
    assert main(["snapshot", where, "--diff", first["snapshot"][:10], second["snapshot"][:10]]) == 0
    assert "dent added by Bo" in capsys.readouterr().out
    assert main(["split", where, "--train", "0.9", "--json"]) == 3
    assert "make no whole" in json.loads(capsys.readouterr().out)["error"]


def test_another_plan_is_another_split_and_the_diff_says_so(home: DatasetHome, tmp_path: Path) -> None:
    fill(home, tmp_path)
    first = take(home, who=WHO, why=WHY, plan=Plan(seed=1))
    second = take(home, who=WHO, why=WHY, plan=Plan(seed=2))
    changes = diff(home, first.id, second.id)
    assert (changes.plan_before["seed"], changes.plan_after["seed"]) == (1, 2)
    assert changes.sides
    assert "another plan" in changes.text()


def test_near_twins_are_found_and_never_straddle(home: DatasetHome, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)

    def scene() -> np.ndarray:
        coarse = rng.integers(0, 255, (12, 12), dtype=np.uint8)
        return cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC)

    def write(name: str, pixels: np.ndarray, lot: str) -> Picture:
        cv2.imwrite(str(tmp_path / name), pixels)
        return Picture(name=name, path=tmp_path / name, width_px=96, height_px=96, lot=lot)

    scenes = [scene() for _ in range(24)]
    pictures = [write(f"a{i}.png", pixels, f"lot a{i}") for i, pixels in enumerate(scenes)]
    noise = rng.normal(0, 2, (96, 96))
    shifted = [np.clip(np.roll(pixels, 1, axis=1) + noise, 0, 255).astype(np.uint8) for pixels in scenes]
    pictures += [write(f"b{i}.png", pixels, f"lot b{i}") for i, pixels in enumerate(shifted)]
    add(home, labelled_set(*pictures), who=WHO, why=WHY)
    assert main(["snapshot", str(home.folder), "--who", "Ann"]) == 0
    (taken,) = listed(home)
    side = {p["name"]: p["side"] for p in load(home, taken.id)["pictures"]}
    assert [side[f"a{i}.png"] for i in range(24)] == [side[f"b{i}.png"] for i in range(24)]
    assert near_twins(home) == [], "nothing is new"
    alone = take(home, who=WHO, why=WHY, plan=Plan(seed=1))
    side = {p["name"]: p["side"] for p in load(home, alone.id)["pictures"]}
    assert [side[f"a{i}.png"] for i in range(24)] != [side[f"b{i}.png"] for i in range(24)], "the control"
