# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pre-training run: repeatable, and after kill -9 it ends in the same state as a run that nobody
disturbed."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from inspection.types import StationFault
from training.backbone.batches import draw_batch
from training.backbone.pretext import pool_label, structure_of
from training.backbone.run import CHECKPOINT, Plan, Run, learn, new_run, rate, resume, save
from training.backbone.scenes import Bank, draw_bank
from training.backbone.settings import Settings, load_settings
from training.backbone.team import Team
from training.backbone.train import main

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings("tiny")


@pytest.fixture(scope="module")
def bank(settings: Settings) -> Bank:
    return draw_bank(settings.seed, settings.classes, settings.parts)


def _taught(run: Run, bank: Bank, until: int) -> Run:
    while run.step < until:
        learn(run, draw_batch(run.settings.seed, run.step, bank, run.settings.scenes, run.settings.side_px))
    return run


def _same(a: Path, b: Path) -> bool:
    first, second = (torch.load(p, weights_only=True) for p in (a, b))
    alike = first["step"] == second["step"]
    for part in ("model", "mean"):
        alike &= all(torch.equal(first[part][name], second[part][name]) for name in first[part])
    for key, moments in first["optimiser"]["state"].items():
        alike &= all(
            torch.equal(value, second["optimiser"]["state"][key][name]) for name, value in moments.items()
        )
    return bool(alike)


def test_the_same_seed_gives_the_same_weights_to_the_bit(
    settings: Settings, bank: Bank, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(_taught(new_run(settings, CPU), bank, 4), tmp_path / name)
    assert _same(tmp_path / "a" / CHECKPOINT, tmp_path / "b" / CHECKPOINT)
    (tmp_path / "c").mkdir()
    save(_taught(new_run(replace(settings, seed=2), CPU), bank, 4), tmp_path / "c")
    assert not _same(tmp_path / "a" / CHECKPOINT, tmp_path / "c" / CHECKPOINT)


def test_a_run_that_goes_on_from_its_state_ends_as_one_without_a_break(
    settings: Settings, bank: Bank, tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    save(_taught(new_run(settings, CPU), bank, 6), tmp_path / "whole")
    (tmp_path / "broken").mkdir()
    save(_taught(new_run(settings, CPU), bank, 3), tmp_path / "broken")
    save(_taught(resume(settings, CPU, tmp_path / "broken"), bank, 6), tmp_path / "broken")
    assert _same(tmp_path / "whole" / CHECKPOINT, tmp_path / "broken" / CHECKPOINT)


def test_a_killed_training_goes_on_and_ends_in_the_same_state(
    settings: Settings, bank: Bank, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    plan = replace(settings, steps=24, decay_from=18)
    save(_taught(new_run(plan, CPU), bank, 24), tmp_path / "whole")
    command = [
        sys.executable,
        "-m",
        "training.backbone.train",
        "--recipe",
        "tiny",
        "--save-every",
        "0",
        "--nice",
        "0",
    ]
    command += ["--steps", "24", "--decay-from", "18", "--out", str(tmp_path / "broken"), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, cwd=repository, env=environment, start_new_session=True)
    state = tmp_path / "broken" / CHECKPOINT
    end = time.monotonic() + 250
    while not state.is_file() and child.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert 0 < torch.load(state, weights_only=True)["step"] < 24
    state.with_suffix(".tmp").write_bytes(b"half a state")  # what a cut while writing leaves behind
    subprocess.run(command, cwd=repository, env=environment, check=True, timeout=250)
    assert _same(tmp_path / "whole" / CHECKPOINT, state)


def test_a_state_of_other_settings_is_refused(settings: Settings, tmp_path: Path) -> None:
    save(new_run(settings, CPU), tmp_path)
    with pytest.raises(StationFault, match="begun with other settings"):
        resume(replace(settings, learning_rate=0.1), CPU, tmp_path)


def test_a_folder_with_a_run_is_not_overwritten(settings: Settings, tmp_path: Path, capsys) -> None:
    save(new_run(settings, CPU), tmp_path)
    assert main(["--out", str(tmp_path), "--recipe", "tiny", "--nice", "0"]) == 3
    assert "--resume" in capsys.readouterr().err


def test_an_unknown_recipe_names_the_known_ones(tmp_path: Path, capsys) -> None:
    assert main(["--out", str(tmp_path), "--recipe", "nope", "--nice", "0"]) == 3
    assert "full" in capsys.readouterr().err


def test_the_rate_rises_holds_and_falls_to_nothing(settings: Settings) -> None:
    plan = Plan(decay_from=10, steps=20)
    rates = [rate(settings, plan, step) for step in range(21)]
    top = settings.learning_rate
    assert rates[0] == pytest.approx(top / settings.warmup_steps)
    assert rates[5] == rates[10] == pytest.approx(top)
    assert rates[15] == pytest.approx(top / 2)
    assert rates[20] == 0


def test_a_cell_with_two_textures_has_no_class() -> None:
    label = torch.full((1, 16, 16), 4)
    label[0, :8, 3] = 7
    label[0, 8:, 8:] = -1
    pure, classes = pool_label(label, 8)
    assert pure.tolist() == [[[False, True], [True, False]]]
    assert classes[0, 0, 1] == classes[0, 1, 0] == 4


def test_structure_tells_the_direction_of_an_edge() -> None:
    picture = torch.zeros(2, 32, 32)
    picture[0, :, 16:] = 200
    picture[1, 16:] = 200
    upright, level = structure_of(picture, 8)[:, :8].amax((2, 3))
    assert upright.argmax() != level.argmax()
    assert upright.max() == pytest.approx(float(level.max()), rel=0.01)


def _agree(rank: int, store: str, out: mp.SimpleQueue) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    team, layer = Team(rank=rank, size=2), torch.nn.Linear(3, 1)
    layer.weight.grad, layer.bias.grad = torch.full((1, 3), 1.0 + rank), torch.full((1,), 5.0 * rank)
    team.agree(layer)
    plan = team.told(7, 9) if rank == 0 else team.told(0, 0)
    out.put((layer.weight.grad.tolist(), layer.bias.grad.tolist(), plan))
    dist.destroy_process_group()


def test_a_team_averages_its_gradients_and_follows_the_first_ones_clock(tmp_path: Path) -> None:
    context = mp.get_context("fork")
    out = context.SimpleQueue()
    children = [context.Process(target=_agree, args=(rank, str(tmp_path / "store"), out)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    for _ in children:
        assert out.get() == ([[1.5, 1.5, 1.5]], [2.5], (7, 9))


@pytest.mark.soak
def test_a_team_of_two_ends_in_the_same_state_after_a_kill(repository: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "training.backbone.train",
        "--recipe",
        "tiny_team",
        "--save-every",
        "0",
        "--nice",
        "0",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run([*command, "--out", str(whole)], cwd=repository, env=environment, check=True, timeout=300)
    child = subprocess.Popen([*command, "--out", str(broken)], cwd=repository, env=environment)
    end = time.monotonic() + 250
    while not (broken / CHECKPOINT).is_file() and child.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    child.kill()  # the others notice by themselves
    child.wait()
    again = [*command, "--out", str(broken), "--resume"]
    subprocess.run(again, cwd=repository, env=environment, check=True, timeout=300)
    assert _same(whole / CHECKPOINT, broken / CHECKPOINT)


@pytest.mark.gpu
def test_a_cuda_device_learns_and_its_state_goes_on_on_a_cpu(
    settings: Settings, bank: Bank, tmp_path: Path
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    save(_taught(new_run(settings, torch.device("cuda")), bank, 2), tmp_path)
    assert _taught(resume(settings, CPU, tmp_path), bank, 4).step == 4
