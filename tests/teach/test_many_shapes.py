# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of many shapes: stretched to one where the place says what belongs there, on a canvas where not."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.anomaly.state import load_state
from training.engine import Asked
from training.teach import main
from weights.bundle import load_bundle

SHAPES = [(100, 140), (140, 100), (90, 126), (126, 126), (146, 94), (106, 106)]
GOOD = 36
COMMON = ["--least-separation", "0.5", "--bank", "300", "--threads", "1", "--scale", "1", "--overkill", "0.1"]


def fixed(number: int, *, misplaced: bool = False) -> np.ndarray:
    """A plate of some shape: bars above, dots below; or a bar where dots belong."""
    rng = np.random.default_rng(number)
    plate = np.full((200, 200), 120, np.uint8)
    for line in range(20, 100, 16):
        cv2.line(plate, (8, line), (192, line), 60, 4)
    for x in range(14, 200, 18):
        for y in range(120, 196, 18):
            cv2.circle(plate, (x, y), 5, 200, -1)
    if misplaced:
        plate[138:162, 70:130] = plate[30:54, 70:130]
    return _cut(plate, number, rng)


def loose(number: int) -> np.ndarray:
    """Texture without any place: waves that lie anywhere."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:200, :200]
    turn, phase = rng.uniform(0, np.pi), rng.uniform(0, 6)
    waves = np.sin((x * np.cos(turn) + y * np.sin(turn)) / 4 + phase)
    return _cut((120 + 50 * waves).astype(np.uint8), number, rng)


def _cut(plate: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    seen = cv2.resize(plate, SHAPES[number % len(SHAPES)], interpolation=cv2.INTER_AREA)
    return np.clip(seen + rng.normal(0, 4, seen.shape), 0, 255).astype(np.uint8)


def written(folder: Path, pictures: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(pictures):
        cv2.imwrite(str(folder / f"{folder.name}-{number:02d}.png"), pixels)
    return folder


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def taught(backbone: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    good = written(root / "good", [fixed(number) for number in range(GOOD)])
    order = ["--good", str(good), "--out", str(root / "t"), "--backbone", str(backbone), *COMMON]
    assert main([*order, "--key-dir", str(keys), "--json"]) == 0
    return root / "t"


def highest(bundle: Path, keys: Path, pictures: list[np.ndarray]) -> list[float]:
    asked = Asked(load_bundle(bundle, [keys]))
    try:
        return [max((f.score for f in asked.find(picture)), default=0.0) for picture in pictures]
    finally:
        asked.close()


def test_where_the_place_counts_pictures_are_stretched_and_a_misplaced_bar_is_found(taught: Path, keys: Path):
    """The bar is nothing new to a bank: only where it lies is wrong."""
    card = load_bundle(taught / "bundle", [keys]).card
    assert [step.kind for step in card.prepare] == ["gain", "stretch"]
    method = card.training["method"]
    assert method["name"] == "position"
    tried = method["preparation"]["stretching_tried"]
    assert tried["pose_share"] >= 0.3
    assert tried["position"] >= tried["bank"] + 0.02
    assert card.training["bank_entries"] == 0
    assert card.training["parity"]["verdict_flips"] == 0
    numbers = range(GOOD, GOOD + 10)
    good = highest(taught / "bundle", keys, [fixed(n) for n in numbers])
    bad = highest(taught / "bundle", keys, [fixed(n, misplaced=True) for n in numbers])
    assert min(bad) > max(good)
    assert min(bad) > 0.5


def test_where_no_place_means_anything_pictures_keep_their_scale(
    backbone: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    good = written(tmp_path / "good", [loose(number) for number in range(18)])
    order = ["--good", str(good), "--out", str(tmp_path / "t"), "--backbone", str(backbone), *COMMON]
    order += ["--least-separation", "0.01"]
    assert main([*order, "--key-dir", str(keys), "--json"]) == 0
    method = json.loads(capsys.readouterr().out)["method"]
    assert method["name"] == "bank"
    assert "canvas" in method["preparation"]
    tried = method["preparation"]["stretching_tried"]
    assert tried["position"] < tried["bank"] + 0.02


def test_what_has_no_bank_takes_in_more_and_forgives(taught: Path, keys: Path, tmp_path: Path):
    more = written(tmp_path / "more", [fixed(number) for number in range(50, 56)])
    odd = fixed(60)
    cv2.circle(odd, (odd.shape[1] // 2, odd.shape[0] // 4), 6, 150, -1)  # somebody declares it harmless
    (picture,) = sorted(written(tmp_path / "odd", [odd]).iterdir())
    order = ["--to", str(taught), "--key-dir", str(keys), "--threads", "1"]
    before = load_state(taught)
    assert main(["--add", str(more), *order]) == 0
    after = load_state(taught)
    assert len(after.scores) == GOOD + 6
    assert after.taught.pose is not None
    assert before.taught.pose is not None
    assert after.taught.pose.sums.parts == before.taught.pose.sums.parts + 6
    assert highest(taught / "bundle", keys, [odd])[0] > 0.5
    assert main(["--forgive", str(picture), *order]) == 0
    assert highest(taught / "bundle", keys, [odd])[0] < 0.5
    bad = highest(taught / "bundle", keys, [fixed(n, misplaced=True) for n in range(GOOD, GOOD + 6)])
    assert min(bad) > 0.5
