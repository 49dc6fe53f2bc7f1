# SPDX-License-Identifier: AGPL-3.0-or-later
"""A job's folder: torn events, records of the dead, the lock; and refusals in one sentence, before anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from inspection.types import StationFault
from tests.training import drawn
from training import low_priority
from training.job import DIED, EVENTS_NAME, JobFolder, process_started
from training.train import main as train


def test_events_are_lines_and_a_torn_one_is_passed_over(tmp_path: Path):
    folder = JobFolder(tmp_path)
    folder.tell("stage", stage="read")
    with (tmp_path / EVENTS_NAME).open("ab") as stream:
        stream.write(b'{"utc": "2026", "event": "epo')  # a writer was killed here
    seen, offset = folder.events()
    assert [event["event"] for event in seen] == ["stage"]
    folder.tell("epoch", epoch=1)
    later, _ = folder.events(offset)
    assert [event["event"] for event in later] == ["epoch"]
    assert [event["event"] for event in folder.events()[0]] == ["stage", "epoch"]


def test_a_job_that_says_running_and_holds_no_lock_has_died(tmp_path: Path):
    folder = JobFolder(tmp_path)
    with folder.working():
        folder.write(state="running", pid=os.getpid(), pid_started=process_started(os.getpid()))
        assert JobFolder(tmp_path).standing()["state"] == "running"
        with pytest.raises(StationFault, match="being worked on"), JobFolder(tmp_path).working(patience_s=0.2):
            pass
    assert folder.standing() | {"state": "failed", "error": DIED} == folder.standing()
    assert folder.record()["state"] == "running"  # reading changes nothing


def test_a_worker_stands_back_in_its_session_and_among_sessions():
    code = (
        "import os; from pathlib import Path; from training.low_priority import stand_back; stand_back(10); "
        "group = Path('/proc/self/autogroup'); "
        "print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_BATCH, "
        "group.read_text().split()[-1] if group.exists() else 10)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=drawn.ROOT,
        start_new_session=True,
    ).stdout.split()
    assert said == ["10", "True", "10"]
    assert low_priority.NICE >= 10


def _data(folder: Path) -> tuple[Path, Path]:
    return drawn.draw(folder / "train", 6, 1), drawn.draw(folder / "val", 6, 2)


def _spoil(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def _without_labels(document: dict) -> None:
    document["annotations"] = []
    for image in document["images"]:
        image.pop("image_class", None)


def _without_pictures(document: dict) -> None:
    document["images"] = document["annotations"] = []


def _other_classes(document: dict) -> None:
    document["categories"].reverse()
    for number, category in enumerate(document["categories"]):
        category["id"] = number + 1


@pytest.mark.parametrize(
    ("which", "change", "says"),
    [
        ("train", _without_pictures, "the train set .* holds no pictures"),
        ("train", _without_labels, "the train set shows no defect"),
        ("val", _without_labels, "the val set shows no defect"),
        ("val", _other_classes, "the classes differ: train has spot, bar, val has bar, spot"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str, change, says: str
):
    given = dict(zip(("train", "val"), _data(tmp_path), strict=True))
    _spoil(given[which], change)
    recipe = drawn.write_recipe(tmp_path / "recipe.toml")
    words = ["--train", str(given["train"]), "--val", str(given["val"]), "--recipe", str(recipe)]
    assert train([*words, "--out", str(tmp_path / "job")]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    with pytest.raises(StationFault, match=says):
        raise StationFault(said)
    assert not (tmp_path / "job").exists()


@pytest.mark.serial
def test_a_job_that_fails_says_why_and_is_never_shown_as_trained(tmp_path: Path):
    pytest.importorskip("ultralytics", reason="training extras are not installed")
    _, val = _data(tmp_path)
    drawn.write_recipe(tmp_path / "recipe.toml")
    twin = cv2.imread(str(tmp_path / "train" / "images" / "1-1.png"))
    torn = val.parent / "images" / "2-1.png"
    for content, says in (
        (b"\x89PNG\r\n\x1a\n torn", "2-1.png: not a picture that can be read"),
        (cv2.imencode(".png", twin)[1].tobytes(), "the same picture as"),
    ):
        torn.write_bytes(content)
        (tmp_path / "train" / "images" / "1-1.png").write_bytes(cv2.imencode(".png", twin)[1].tobytes())
        out = tmp_path / f"job-{len(content)}"
        done = drawn.train(tmp_path, out, code=3)
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
        folder = JobFolder(out)
        assert folder.standing()["state"] == "failed"
        assert says in folder.standing()["error"]
        assert says in folder.events()[0][-1]["error"]
        assert not folder.bundle.exists()


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"network": "resnet50"}, "network 'resnet50'"),
        ({"network": "yolo26x"}, "network 'yolo26x'"),
        ({"task": "segment"}, "is for 'detect'"),
        ({"weights": "lucky"}, "choose last or best"),
        ({"more": "[[prepare]]\nkind = 'gain'\ntarget = -1\n"}, "prepare"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_by_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: dict[str, str], says: str
):
    path = drawn.write_recipe(tmp_path / "odd.toml", **recipe)
    assert train(["--recipe", str(path), "--rendered", "--out", str(tmp_path / "job")]) == 3
    said = capsys.readouterr().err
    assert "odd.toml" in said
    assert says in said


def test_an_out_that_is_a_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    _data(tmp_path)
    drawn.write_recipe(tmp_path / "recipe.toml")
    (tmp_path / "taken").write_text("mine")
    assert train(drawn.command(tmp_path, tmp_path / "taken", "--json")[3:]) == 3
    said = capsys.readouterr()
    assert "choose another --out" in json.loads(said.out)["error"]
    assert said.err.count("\n") == 1
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.serial
def test_weights_that_are_a_pickle_are_not_loaded(tmp_path: Path):
    _data(tmp_path)
    drawn.write_recipe(tmp_path / "recipe.toml")
    (tmp_path / "theirs.pt").write_bytes(b"\x80\x04.")
    done = drawn.train(tmp_path, tmp_path / "job", "--start", str(tmp_path / "theirs.pt"), code=3)
    assert "is a pickle" in done.stderr
    assert not np.any([path.name == "bundle" for path in (tmp_path / "job").iterdir()])
