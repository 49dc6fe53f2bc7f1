# SPDX-License-Identifier: AGPL-3.0-or-later
"""What varies in good parts as a whole is no defect; a local change is, and so is one beyond what they do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.anomaly.adding import _taken_in
from training.anomaly.features import Frame, Looking, Shown
from training.anomaly.fit import Teaching
from training.anomaly.folds import least_taught
from training.anomaly.gaussian import PoseSums, pose_distances
from training.anomaly.modes import FROM, MOST, SHARE, Modes, ways_for
from training.anomaly.state import ARRAYS, FACTS, State, load_state, save_state
from training.anomaly.taught import Basis, Pose, Taught

POSITIONS, AXES = 40, 4


def _parts(rng: np.random.Generator, count: int, swing: float = 3.0) -> np.ndarray:
    """Parts that swing together along two patterns, each position with a little noise of its own."""
    patterns = np.random.default_rng(99).normal(size=(2, POSITIONS * AXES))
    swings = rng.normal(size=(count, 2)) * swing
    noise = rng.normal(size=(count, POSITIONS, AXES)) * 0.2
    return ((swings @ patterns).reshape(count, POSITIONS, AXES) + noise).astype(np.float32)


def _pose(parts: np.ndarray, wanted: int) -> Pose:
    modes = Modes.of(parts, wanted) if wanted else None
    return Pose.of(PoseSums.of(parts if modes is None else modes.without(parts)), modes)


def _worst(pose: Pose, part: np.ndarray) -> float:
    return float(pose_distances(pose.local(part), pose.mean, pose.whitening).max())


def test_a_faint_spot_stands_out_once_what_varies_as_a_whole_is_off():
    rng = np.random.default_rng(1)
    taught, good = _parts(rng, 100), _parts(rng, 30)
    spotted = good.copy()
    spotted[:, 17] += 1.5
    caught = {}
    for wanted in (0, 2):
        pose = _pose(taught, wanted)
        highest = max(_worst(pose, part) for part in good)
        caught[wanted] = np.mean([_worst(pose, part) > highest for part in spotted])
    assert caught[0] < 0.1
    assert caught[2] > 0.9


def test_a_part_that_swings_farther_than_good_ones_do_stands_out_all_over():
    """The seeded bug is beside it: without a reach, what lies along a way is explained however far it goes."""
    rng = np.random.default_rng(2)
    pose = _pose(_parts(rng, 100), 2)
    assert pose.modes is not None
    endless = replace(pose, modes=replace(pose.modes, reach=pose.modes.reach * 1000))
    highest = max(_worst(pose, part) for part in _parts(rng, 30))
    farther = 6 * pose.modes.reach[0] * pose.modes.ways[0].reshape(POSITIONS, AXES) + pose.modes.centre
    assert _worst(pose, farther) > 2 * highest
    assert _worst(endless, farther) < highest


def test_ways_are_of_unit_length_at_right_angles_and_no_more_than_there_are():
    parts = _parts(np.random.default_rng(3), 12)
    modes = Modes.of(parts, 5)
    assert modes.ways @ modes.ways.T == pytest.approx(np.eye(5), abs=1e-4)
    alike = Modes.of(np.repeat(parts[:2], 6, axis=0), 5)
    assert len(alike.ways) == 1  # two parts differ in one way
    same = np.repeat(parts[:1], 6, axis=0)
    assert np.array_equal(Modes.of(same, 5).without(same), same)


class Corners(Looking):
    """A network whose features are the pixels at the corners of the grid's cells."""

    def __init__(self) -> None:
        self.frame = Frame(width_px=64, height_px=64, stride=8, smoothings=1)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[::8, ::8].reshape(-1, 3).astype(np.float32)


def _seen(rng: np.random.Generator) -> np.ndarray:
    return np.clip(rng.normal(120, 8, (64, 64, 3)), 0, 255).astype(np.uint8)


def _teaching(folds: list[int], parts: list[str] | None = None) -> Teaching:
    rng = np.random.default_rng(4)
    inside = (slice(0, 8), slice(0, 8))
    shown = [Shown(pixels=_seen(rng), inside=inside) for _ in folds]
    return Teaching(Corners(), shown, folds, seed=0, parts=parts)


@pytest.mark.parametrize("lots", [(85, 8, 7), (70, 20, 10), (50, 50), (20, 20, 20, 20, 20)])
def test_a_gross_defect_is_above_the_limit_and_good_parts_are_near_it_however_uneven_the_lots(
    lots: tuple[int, ...],
):
    """Counted by all parts, the ways explain the fold taught on 15 completely: then every part passes."""
    teaching = _teaching([fold for fold, size in enumerate(lots) for _ in range(size)])
    outcome = teaching.run(method="position", overkill=0.05, least=0.0)
    rng, good, gross = np.random.default_rng(5), [], []
    for _ in range(20):
        pixels = _seen(rng)
        spoilt = pixels.copy()
        spoilt[16:40, 16:40] = 255
        for one, reached in ((pixels, good), (spoilt, gross)):
            turned = outcome.taught.basis.turn(Corners().features(one))
            reached.append(float(outcome.taught.distance_map(turned).max()))
    limit = outcome.limit.value
    assert min(gross) > 2 * limit
    assert 0.3 * limit < np.median(good) < limit


def test_as_many_ways_in_every_fold_and_at_last_as_the_smallest_teaching_has_distinct_parts_for():
    assert [ways_for(n) for n in (FROM - 1, FROM, 80, 1000)] == [0, int(SHARE * FROM), 30, MOST]

    def used(folds: list[int], parts: list[str] | None = None) -> set[int]:
        teaching = _teaching(folds, parts)
        rests = [[i for i, mine in enumerate(folds) if mine != fold] for fold in sorted(set(folds))]
        poses = [teaching.pose_of(rest, 3) for rest in [*rests, range(len(folds))]]
        return {0 if pose.modes is None else len(pose.modes.ways) for pose in poses}

    even = [n % 5 for n in range(100)]
    assert used(even) == {30}
    assert used([0] * 30 + [1] * 70 + [2] * 30) == {0}  # 60 parts are left beside the largest lot
    assert used([n % 5 for n in range(79)]) == {0}
    assert used(even, [str(n % 50) for n in range(100)]) == {0}  # 100 pictures of 50 parts
    twice = [n % 5 for n in range(200)]
    assert used(twice, [str(n % 100) for n in range(200)]) == {30}
    assert least_taught([0, 0, 1, 1, 1], ["a", "b", "c", "c", "d"]) == 2


def test_more_parts_are_taken_in_by_what_the_ways_leave_of_them():
    rng = np.random.default_rng(6)
    first, more = _parts(rng, 30), _parts(rng, 5)
    pose = _pose(first, 2)
    assert pose.modes is not None
    taught = Taught(
        basis=Basis.of(list(first)),
        bank=np.zeros((0, AXES), np.float32),
        pose=pose,
        bank_unit=1.0,
        pose_unit=1.0,
        limit=2.0,
        lines=5,
        columns=8,
        smoothings=1,
    )
    shown = [Shown(pixels=np.zeros((8, 8, 3), np.uint8), inside=(slice(0, 5), slice(0, 8)))] * len(more)
    after = _taken_in(taught, list(more), shown, reach=0.0, weight=1.0).pose
    assert after is not None
    assert after.modes is pose.modes
    wanted = PoseSums.of(pose.modes.without(np.concatenate([first, more])))
    assert after.sums.second == pytest.approx(wanted.second, rel=1e-3, abs=1e-3)
    assert np.abs(PoseSums.of(np.concatenate([first, more])).second - wanted.second).max() > 1  # the seeded bug


def test_what_was_written_down_comes_back_and_what_was_taught_before_there_were_ways_is_still_read(
    tmp_path: Path,
):
    parts = _parts(np.random.default_rng(5), 30)
    basis = Basis.of(list(parts))
    for wanted, form in ((2, 2), (0, 1)):
        taught = Taught(
            basis=basis,
            bank=np.zeros((0, AXES), np.float32),
            pose=_pose(parts, wanted),
            bank_unit=1.0,
            pose_unit=1.0,
            limit=2.0,
            lines=5,
            columns=8,
            smoothings=1,
        )
        names, parts_named = ["a", "b", "a"], ["P1", "P2", "P1"]  # the second "a" was forgiven under that name
        state = State(taught=taught, names=names, parts=parts_named, scores=[1.0, 2.0, 3.0], facts={})
        save_state(tmp_path, state)
        facts = json.loads((tmp_path / FACTS).read_text())
        if form == 1:
            del facts["parts"]
        (tmp_path / FACTS).write_text(json.dumps({**facts, "format": form}))
        read = load_state(tmp_path)
        again = read.taught
        assert read.names == names
        assert read.parts == parts_named if form == 2 else len(set(read.parts)) == 3
        assert again.distance_map(parts[3]) == pytest.approx(taught.distance_map(parts[3]), rel=1e-3)
        assert (again.pose is not None and again.pose.modes is not None) == bool(wanted)
    assert (tmp_path / ARRAYS).is_file()
