# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whole jobs in processes of their own: killed, cancelled, gone on with, and the same bytes in the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.training import drawn
from training.job import DIED, JobFolder
from weights.bundle import load_bundle

pytestmark = [pytest.mark.serial, pytest.mark.timeout(290)]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ultralytics", reason="training extras are not installed")
    return drawn.material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def undisturbed(material: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A job that nobody disturbed, and the seconds it took."""
    out = tmp_path_factory.mktemp("undisturbed") / "job"
    started = time.monotonic()
    drawn.train(material, out)
    return out, time.monotonic() - started


def _bundle(material: Path, out: Path) -> str:
    return load_bundle(out / "bundle", [material / "keys"]).sha256


def test_one_command_makes_a_signed_evaluated_candidate(material: Path, undisturbed: tuple[Path, float]):
    out, _ = undisturbed
    folder = JobFolder(out)
    record = folder.standing()
    assert (record["state"], record["error"]) == ("done", None)
    assert record["bundle"] == _bundle(material, out)
    card = load_bundle(out / "bundle", [material / "keys"]).card
    assert card.classes == ["spot", "bar"]
    assert card.training["parity"]["verdicts"]["verdict_flips"] == 0
    assert card.metrics["choice"]["part"]["defective"] == 8
    events, _ = folder.events()
    stages = [event["stage"] for event in events if event["event"] == "stage"]
    assert stages == ["read", "pictures", "fit", "export", "limits", "parity", "test", "sign"]
    epochs = [event for event in events if event["event"] == "epoch"]
    assert [event["epoch"] for event in epochs] == [1, 2]
    assert {"loss", "metric", "left_s"} <= set(epochs[0])


def test_nothing_of_clock_or_place_is_in_the_bundle(undisturbed: tuple[Path, float]):
    out, _ = undisturbed
    text = b"".join(path.read_bytes() for path in (out / "bundle").iterdir() if path.suffix == ".json")
    assert str(out).encode() not in text
    assert b'"created_utc": ""' in text
    for volatile in (b"fit_s", b"wall_s", b"seconds", b"hostname"):
        assert volatile not in text


def test_the_same_command_again_says_what_is_there_already(material: Path, undisturbed: tuple[Path, float]):
    out, _ = undisturbed
    again = drawn.train(material, out, code=3)
    assert "--resume" in again.stderr
    assert again.stderr.count("\n") == 1
    said = json.loads(drawn.train(material, out, "--resume", "--json").stdout)
    assert said["bundle"] == _bundle(material, out)
    part, sentences = said["metrics"]["part"], said["metrics"]["sentences"]
    assert f"{part['escapes']} escapes in {part['defective']} defective parts" in sentences[0]
    assert ("finds nothing" in sentences[-1]) == (part["escapes"] == part["defective"])
    told = drawn.train(material, out, "--resume").stdout
    assert told.splitlines()[-len(sentences) :] == sentences
    other = drawn.train(material, out, "--resume", "--seed", "7", code=3)
    assert "another seed" in other.stderr
    assert JobFolder(out).standing()["state"] == "done"  # a refused command changes nothing


def test_a_job_killed_between_its_bundle_and_its_record_is_found_finished(
    material: Path, undisturbed: tuple[Path, float], tmp_path: Path
):
    out = tmp_path / "job"
    shutil.copytree(undisturbed[0], out)
    whole = JobFolder(out).record()
    torn = {key: value for key, value in whole.items() if key not in ("bundle", "metrics")}
    (out / "job.json").write_text(json.dumps(torn | {"state": "running", "stage": "sign"}))
    assert JobFolder(out).standing()["state"] == "failed"
    drawn.train(material, out, "--resume")
    found = JobFolder(out).standing()
    assert {key: found[key] for key in ("state", "bundle", "metrics")} == {
        key: whole[key] for key in ("state", "bundle", "metrics")
    }


def test_a_record_of_an_earlier_version_is_told_in_sentences_too(
    material: Path, undisturbed: tuple[Path, float], tmp_path: Path
):
    out = tmp_path / "job"
    shutil.copytree(undisturbed[0], out)
    whole = JobFolder(out).record()
    metrics = {key: value for key, value in whole["metrics"].items() if key != "sentences"}
    (out / "job.json").write_text(json.dumps(whole | {"metrics": metrics}))
    told = drawn.train(material, out, "--resume").stdout
    assert told.splitlines()[-1] == whole["metrics"]["sentences"][-1]
    assert JobFolder(out).record() == whole


def test_another_seed_cancelled_and_gone_on_with_makes_another_bundle(
    material: Path, undisturbed: tuple[Path, float], tmp_path: Path
):
    out = tmp_path / "job"
    folder = JobFolder(out)
    job = _start(material, out, "--seed", "1")
    _wait_for(job, folder, lambda events: any(event["event"] == "epoch" for event in events))
    folder.cancel()
    assert job.wait(120) == 4
    assert folder.standing()["state"] == "cancelled"
    assert not folder.bundle.exists()
    drawn.train(material, out, "--seed", "1", "--resume")
    assert folder.standing()["state"] == "done"
    assert _bundle(material, out) != _bundle(material, undisturbed[0])


def _start(material: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        drawn.command(material, out, *more),
        cwd=drawn.ROOT,
        env=drawn.surroundings(material),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for(job: subprocess.Popen[bytes], folder: JobFolder, seen) -> None:
    while job.poll() is None and not seen(folder.events()[0]):
        time.sleep(0.02)


def _worker(folder: JobFolder) -> int | None:
    return folder.record().get("pid")


def _kill_at(rng: random.Random, material: Path, out: Path, whole_s: float, whom: str) -> str:
    """Go on with a job, kill -9 at a random moment, and say where it stood.

    Half of the kills fall at a random time of a whole run, half shortly after a random stage began, because fit
    takes nearly all the time.
    """
    folder = JobFolder(out)
    _, offset = folder.events()
    job = _start(material, out, "--resume")
    try:
        if rng.random() < 0.5:
            until = time.monotonic() + rng.uniform(0.0, whole_s)
            while job.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
        else:
            stage = rng.choice(["read", "pictures", "fit", "export", "limits", "parity", "test", "sign"])

            def reached(events: list[dict[str, object]]) -> bool:
                return any(event.get("stage") == stage for event in folder.events(offset)[0])

            _wait_for(job, folder, reached)
            time.sleep(rng.uniform(0.0, 0.4))
        at = folder.record().get("stage", "nothing yet")
        if job.poll() is not None:
            return "ended before the kill"
        worker = _worker(folder)
        if whom == "worker" and worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            job.wait(60)  # the watcher sees it and says so
            assert folder.standing()["error"] in (DIED, None)
        else:
            job.kill()
        return str(at)
    finally:
        job.kill()
        job.wait(60)


def _killed_often(
    material: Path, out: Path, undisturbed: tuple[Path, float], kills: int, seed: int
) -> list[str]:
    wanted = _bundle(material, undisturbed[0])
    rng = random.Random(seed)
    folder = JobFolder(out)
    moments = []
    while len(moments) < kills:
        at = _kill_at(rng, material, out, undisturbed[1], "watcher" if len(moments) % 2 else "worker")
        state = folder.standing().get("state")
        if folder.bundle.exists():  # whole and signed, however soon after its rename the kill came
            assert _bundle(material, out) == wanted
        else:
            assert state != "done"
        if at != "ended before the kill":
            moments.append(at)
            print("killed in", at, flush=True)
        if folder.bundle.exists():
            drawn.train(material, out, "--resume")
            assert folder.standing()["state"] == "done"
            out = out.with_name(f"{out.name}+")  # begin a new one
            folder = JobFolder(out)
    drawn.train(material, out, "--resume")
    assert folder.standing()["state"] == "done"
    assert _bundle(material, out) == wanted
    assert not list(out.glob(".bundle*"))
    return moments


def test_a_job_killed_three_times_ends_with_the_same_bytes(
    material: Path, undisturbed: tuple[Path, float], tmp_path: Path
):
    _killed_often(material, tmp_path / "job", undisturbed, kills=3, seed=5)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_job_killed_twenty_times_ends_with_the_same_bytes(
    material: Path, undisturbed: tuple[Path, float], tmp_path: Path, record_property
):
    moments = _killed_often(material, tmp_path / "job", undisturbed, kills=20, seed=20)
    record_property("killed in", ", ".join(moments))
