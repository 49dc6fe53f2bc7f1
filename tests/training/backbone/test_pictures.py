# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures of the pre-training: the same for the same seed, honest in their labels, and drawn from
nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from training.backbone.batches import draw_batch
from training.backbone.chance import Purpose, generator
from training.backbone.scenes import NO_CLASS, Bank, draw_bank, draw_scene
from training.backbone.spoil import KINDS, add_defects
from training.backbone.textures import FAMILIES, draw_texture


@pytest.fixture(scope="module")
def bank() -> Bank:
    return draw_bank(3, 28, 4)


def test_every_family_draws_the_same_texture_for_the_same_seed_and_another_for_another() -> None:
    for number in range(len(FAMILIES)):
        first = draw_texture(5, number, 96)
        assert first.dtype == np.uint8
        assert first.shape == (96, 96)
        assert np.array_equal(first, draw_texture(5, number, 96))
        assert not np.array_equal(first, draw_texture(6, number, 96))
        assert first.std() > 2, FAMILIES[number].__name__


def test_a_batch_depends_on_its_seed_and_number_alone(bank: Bank) -> None:
    later = draw_batch(3, 7, bank, 3, 64)
    draw_batch(3, 8, bank, 3, 64)
    again = draw_batch(3, 7, draw_bank(3, 28, 4), 3, 64)
    for name in (f.name for f in fields(later)):
        assert np.array_equal(getattr(later, name), getattr(again, name)), name
    assert not np.array_equal(later.first, draw_batch(3, 8, bank, 3, 64).first)
    assert not np.array_equal(later.first, draw_batch(4, 7, bank, 3, 64).first)


def test_the_same_spot_is_found_in_both_exposures_by_the_shift(bank: Bank) -> None:
    moved = 0
    for number in range(12):
        batch = draw_batch(6, number, bank, 2, 96)
        for first, second, classes, (dx, dy) in zip(
            batch.label[0], batch.label[1], batch.label.swapaxes(0, 1), batch.shift, strict=True
        ):
            assert dx % 16 == dy % 16 == 0
            height, width = 96 - abs(dy), 96 - abs(dx)
            a = first[max(dy, 0) :, max(dx, 0) :][:height, :width]
            b = second[max(-dy, 0) :, max(-dx, 0) :][:height, :width]
            assert np.array_equal(a, b)
            moved += bool(dx or dy) and len(np.unique(classes)) > 1
    assert moved > 3


def test_a_defect_is_labelled_where_the_picture_changed_and_nowhere_else(bank: Bank) -> None:
    seen = 0
    for number in range(40):
        rng = generator(1, Purpose.BATCH, number)
        scene, _ = draw_scene(rng, bank, 96)
        spoilt, kinds = add_defects(rng, scene, bank, 3)
        change = np.abs(spoilt - scene)
        assert kinds.max(initial=0) <= KINDS
        far = kinds == 0
        assert change[far].max(initial=0) < 60  # a thin line's blurred skirt, never a whole defect
        seen += int((kinds > 0).any())
        if (kinds > 0).any():
            assert change[kinds > 0].mean() > 4
    assert seen > 20


def test_classes_of_a_scene_are_those_of_its_bank(bank: Bank) -> None:
    classes = set()
    for number in range(60):
        picture, label = draw_scene(generator(2, Purpose.BATCH, number), bank, 64)
        assert picture.dtype == np.float32
        assert picture.min() >= 0
        assert picture.max() <= 255
        classes |= set(np.unique(label).tolist())
    assert min(classes) == NO_CLASS
    assert max(classes) < len(bank.textures)
    assert len(classes) > 20


_NOTHING_READ = """
import sys
import numpy as np, torch, cv2
torch.set_num_threads(1)
from training.backbone.batches import draw_batch
from training.backbone.run import new_run, learn
from training.backbone.scenes import draw_bank
from training.backbone.settings import load_settings
settings = load_settings("tiny")
run = new_run(settings, torch.device("cpu"))
np.linalg.norm(np.eye(2), 2); np.random.default_rng(0).choice([1, 2])
learn(run, draw_batch(9, 0, draw_bank(9, 14, 1), 2, 64))  # whatever loads late has loaded now
seen = []
sys.addaudithook(lambda event, args: seen.append((event, str(args[:1])))
                 if event in ("open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen") else None)
bank = draw_bank(1, 14, 2)
learn(run, draw_batch(1, 0, bank, 2, 64))
assert not seen, seen
print("nothing read")
"""


def test_drawing_and_learning_open_no_file_and_no_socket(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NOTHING_READ],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing read" in done.stdout


def test_no_line_of_the_pretraining_can_read_a_picture_or_foreign_weights(repository: Path) -> None:
    # what OpenCV and torch read in C++ passes every audit hook: the calls themselves are not there
    forbidden = {
        "imread",
        "imreadmulti",
        "imdecode",
        "VideoCapture",
        "Image",
        "fromfile",
        "torchvision",
        "hub",
        "urllib",
    }
    forbidden |= {"requests", "socket", "read_coco", "read_picture", "datasets", "ultralytics", "timm"}
    for path in sorted((repository / "training" / "backbone").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.Attribute):
                names = {node.attr}
            elif isinstance(node, ast.Name):
                names = {node.id}
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                module = getattr(node, "module", None) or ""
                names = {part for alias in node.names for part in f"{module}.{alias.name}".split(".")}
            assert not names & forbidden, f"{path.name}: {names & forbidden}"
