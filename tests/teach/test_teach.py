# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole way: good pictures to a signed bundle that the station's own engine runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.promoting import golden_set, promote
from training.anomaly.adding import add_good
from training.anomaly.state import load_state
from training.engine import Asked
from training.teach import main
from weights.bundle import Bundle, load_bundle

LEAST = ["--least-separation", "0.5", "--bank", "300", "--threads", "1", "--scale", "1", "--overkill", "0.1"]


def grey(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return picture


def highest(bundle: Bundle, folder: Path) -> list[float]:
    asked = Asked(bundle)
    try:
        return [max((f.score for f in asked.find(grey(p))), default=0.0) for p in sorted(folder.iterdir())]
    finally:
        asked.close()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def taught(parts: Path, backbone: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("taught") / "t"
    order = ["--good", str(parts / "good"), "--out", str(out), "--backbone", str(backbone), *LEAST]
    assert main([*order, "--key-dir", str(keys), "--json"]) == 0
    return out


@pytest.fixture
def copied(taught: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(taught, tmp_path / "t"))


def test_the_station_runs_what_was_taught_and_finds_the_gouge(taught: Path, parts: Path, keys: Path):
    bundle = load_bundle(taught / "bundle", [keys])
    good, bad = highest(bundle, parts / "unseen"), highest(bundle, parts / "spoilt")
    assert min(bad) > max(good)
    assert min(bad) > 0.5
    assert sum(score > 0.5 for score in good) <= 1
    asked = Asked(bundle)
    try:
        worst, *_ = asked.find(grey(parts / "spoilt" / "0.png"))
    finally:
        asked.close()
    assert worst.box.x0_px < 108 < worst.box.x1_px
    assert worst.box.y0_px < 80 < worst.box.y1_px


def test_what_was_taught_may_be_promoted(taught: Path, parts: Path, keys: Path, tmp_path: Path, capsys):
    """The rule reads the parity where teaching wrote it."""
    folders = (sorted((parts / name).iterdir()) for name in ("unseen", "spoilt"))
    said = promote(taught, golden_set(tmp_path / "golden.json", *folders), keys, tmp_path, capsys)
    assert said["ok"], said
    assert said["promoted"]
    assert any(r["about"] == "parity" and r["sentence"].startswith("0 verdicts flip") for r in said["reasons"])


def test_a_person_is_told_what_it_rests_on(taught: Path, keys: Path):
    card = load_bundle(taught / "bundle", [keys]).card
    teaching = card.metrics["teaching"]
    assert teaching["good"] == 30
    assert teaching["misses"] == "unknown until defects are shown"
    assert teaching["overkill_upper_95"] > teaching["expected_overkill"]
    assert card.training["parity"]["verdict_flips"] == 0
    page = (taught / "worst-good.html").read_text()
    worst = max(zip((s := load_state(taught)).scores, s.names, strict=True))[1]
    assert worst in page
    assert grey(taught / "worst-good.png").size > 0


def test_the_same_seed_and_pictures_make_the_same_bundle(  # noqa: PLR0917 - fixtures
    taught: Path, parts: Path, backbone: Path, keys: Path, tmp_path: Path, capsys
):
    order = ["--good", str(parts / "good"), "--out", str(tmp_path / "again"), "--backbone", str(backbone)]
    assert main([*order, *LEAST, "--key-dir", str(keys), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == load_state(taught).facts["bundle_sha256"]


def test_more_good_parts_are_taken_in_without_fitting_again(copied: Path, parts: Path, keys: Path, capsys):
    before = load_state(copied)
    order = ["--to", str(copied), "--key-dir", str(keys), "--threads", "1", "--json"]
    assert main(["--add", str(parts / "unseen"), *order]) == 0
    said = json.loads(capsys.readouterr().out)
    after = load_state(copied)
    card = load_bundle(copied / "bundle", [keys]).card
    parent = before.facts["bundle_sha256"]
    assert card.data["parent"] == parent == said["parent"] != said["sha256"]
    assert load_bundle(copied / "history" / parent[:12], [keys]).sha256 == parent
    assert card.data["changes"][0]["count"] == 8
    assert after.scores[:30] == before.scores
    assert len(after.scores) == 38
    assert np.array_equal(after.taught.basis.axes, before.taught.basis.axes)
    assert np.array_equal(after.taught.bank[: len(before.taught.bank)], before.taught.bank)
    assert main(["--add", str(parts / "unseen"), *order]) == 3  # known already


def test_one_part_seen_four_times_and_added_narrows_no_bound_by_more_than_one_part(
    copied: Path, parts: Path, keys: Path, tmp_path: Path
):
    (tmp_path / "one").mkdir()
    part = grey(parts / "unseen" / "0.png")
    for time in range(4):
        noise = np.random.default_rng(time).normal(0, 1, part.shape)
        lit = np.clip(part * (0.97 + 0.02 * time) + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "one" / f"exposure{time}.png"), lit)
    before = load_bundle(copied / "bundle", [keys]).card.metrics["teaching"]
    said = add_good(tmp_path / "one", copied, forgive=False, threads=1, key_dir=keys)
    assert said["good"] == before["good"] + 4
    assert said["good_parts"] == before["good_parts"] + 1
    assert said["added_parts"] == 1
    assert said["near_twins"] == {"groups": 1, "pictures": 4}
    assert "hold 4 of the 4 pictures added, so 1 new part counts" in said["sentence"]


def test_a_forgiven_part_passes_and_a_gouge_still_does_not(
    copied: Path, parts: Path, keys: Path, tmp_path: Path
):
    odd = grey(parts / "unseen" / "3.png")
    cv2.circle(odd, (80, 54), 3, 60, -1)  # a mark that somebody declares harmless
    (tmp_path / "odd").mkdir()
    cv2.imwrite(str(tmp_path / "odd" / "marked.png"), odd)
    before = highest(load_bundle(copied / "bundle", [keys]), tmp_path / "odd")
    order = ["--to", str(copied), "--key-dir", str(keys), "--threads", "1"]
    assert main(["--forgive", str(tmp_path / "odd" / "marked.png"), *order]) == 0
    bundle = load_bundle(copied / "bundle", [keys])
    assert before[0] > 0.5 > highest(bundle, tmp_path / "odd")[0]
    assert min(highest(bundle, parts / "spoilt")) > max(highest(bundle, parts / "unseen"))
    assert bundle.card.data["changes"][0]["what"] == "forgiven"


def test_a_backbone_that_sees_nothing_is_refused_and_nothing_is_left(
    parts: Path, backbone: Path, keys: Path, tmp_path: Path, capsys
):
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(backbone))
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim == 4:  # dead: every picture looks the same to it
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(value), tensor.name))
    onnx.save(model, str(tmp_path / "blind.onnx"))
    order = ["--good", str(parts / "good"), "--out", str(tmp_path / "t"), "--threads", "1", "--bank", "200"]
    order += ["--scale", "1"]
    assert main([*order, "--backbone", str(tmp_path / "blind.onnx"), "--key-dir", str(keys)]) == 3
    said = capsys.readouterr().err
    assert "not teachable" in said
    assert "--backbone" in said
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ([], "give one of"),
        (["--add", "{parts}/unseen"], "--to"),
        (["--good", "{parts}/good"], "--out"),
        (["--good", "{parts}/empty", "--out", "{tmp}/t"], "no good pictures"),
        (["--good", "{parts}/unseen", "--out", "{tmp}/t", "--backbone", "{tmp}/none.onnx"], "backbone"),
        (["--good", "{parts}/few", "--out", "{tmp}/t"], "not teachable"),
        (["--add", "{parts}/unseen", "--to", "{tmp}"], "no finished teaching"),
        (["--good", "{parts}/good", "--out", "{tmp}/t", "--overkill", "0.9"], "--overkill"),
    ],
)
def test_bad_input_gets_one_sentence(parts: Path, tmp_path: Path, capsys, order: list[str], says: str):
    (parts / "empty").mkdir(exist_ok=True)
    (parts / "few").mkdir(exist_ok=True)
    shutil.copy(parts / "unseen" / "0.png", parts / "few" / "0.png")
    assert main([word.format(parts=parts, tmp=tmp_path) for word in order]) == 3
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "t").exists()
