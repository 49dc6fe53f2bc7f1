# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gatesight evaluate` on toy bundles of each kind, and in one sentence where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from datasets.coco import read_coco
from tests.training import toys
from tests.training.toys import Toy
from training.evaluate import main
from training.robustness import DRIFTS
from training.sets import described
from weights.bundle import load_bundle
from weights.evidence import examined
from weights.keys import KEYS_VARIABLE

KEYS = {
    "pictures",
    "map50",
    "map50_95",
    "map_protocol",
    "f_protocol",
    "auroc",
    "aupro",
    "pixel_f1",
    "trivial_auroc",
}
PART = {"defective", "escapes", "escape_upper_95", "good", "overkill", "overkill_upper_95"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's own keys lie in it, so that bundles signed here are trusted by default."""
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))
    return tmp_path


def _mixed() -> list[Toy]:
    return [
        *[Toy(name=f"good{i}") for i in range(6)],
        *[Toy(name=f"bright{i}", level=230, at=(6 + 5 * i, 10)) for i in range(4)],
        Toy(name="faint", level=100),  # an escape at limit 0.6
        Toy(name="glare", level=240, image_class="good", marked=False),  # overkill
    ]


def _asked(folder: Path, *more: str) -> tuple[int, dict[str, Any]]:
    out = folder / "figures.json"
    data = [] if "--data" in more else ["--data", str(folder / "set.json")]
    code = main(["--bundle", str(folder / "job"), *data, "--json", str(out), *more])
    return code, json.loads(out.read_text()) if out.is_file() else {}


def test_a_good_only_bundle_answers_every_class_of_defect(folder: Path):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    toys.toy_set(folder, _mixed())
    code, found = _asked(folder)  # the training's folder, trusted by the person's own key
    assert code == 0
    assert set(found) >= KEYS
    assert set(found["part"]) >= PART
    assert found["pictures"] == 12
    part = found["part"]
    assert (part["defective"], part["escapes"]) == (5, 1)
    assert (part["good"], part["overkill"]) == (7, 1)
    # 5 defective scores against 7 good: one good (glare) above all, so 5 pairs of 35 are lost
    assert found["auroc"] == pytest.approx(30 / 35, abs=1e-6)
    assert found["trivial"]["name"]
    assert found["map50"] == pytest.approx(0.8 * 81 / 101, abs=1e-4)  # glare first, then four of five
    assert 0.5 < found["aupro"] <= 1
    assert found["pixel_f1"] == pytest.approx(found["pixel"]["f1"])
    assert found["pixel"]["limit_source"] == "chosen before"
    assert found["f_protocol"] is None
    assert found["escapes_by_class"]["spot"]["escapes"] == 1
    assert {row["part"] for row in found["parts"]} >= {"faint.png", "glare.png"}
    assert found["summary"][0].startswith("1 escape in 5 defective parts: at most 65.8 %")


def test_figures_that_do_not_apply_are_null(folder: Path):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    toys.toy_set(folder, [Toy(name=f"good{i}") for i in range(3)])
    code, found = _asked(folder)
    assert code == 0
    assert [found[key] for key in ("map50", "auroc", "aupro", "pixel_f1", "trivial_auroc")] == [None] * 5
    assert found["part"]["escape_upper_95"] == 1.0  # nothing was shown: nothing is known


def test_whole_picture_scores_are_judged_by_the_rules_too(folder: Path):
    about = toys.card(
        task="classify", output={"name": "output0", "kind": "scores_nc"}, classes=["spot", "good"]
    )
    toys.toy_bundle(folder, toys.brightest_score(), about, {"spot": 0.6, "good": 1.0})
    toys.toy_set(folder, _mixed())
    code, found = _asked(folder)
    assert code == 0
    assert found["map50"] is None
    assert (found["part"]["escapes"], found["part"]["overkill"]) == (1, 1)
    assert found["confusion"]["pictures"] == {"good": {"good": 6, "spot": 1}, "spot": {"spot": 4, "good": 1}}
    assert found["auroc"] == pytest.approx(30 / 35, abs=1e-6)


def test_a_segmenting_bundle_is_judged_by_its_masks_too(folder: Path):
    about = toys.card(task="segment", classes=["spot"], floor_score=0.45)
    toys.toy_bundle(folder, toys.brightness_map(), about, {"spot": 0.6})
    shown = [Toy(name=f"bright{i}", level=230, at=(6 + 8 * i, 10)) for i in range(4)]
    toys.toy_set(folder, [*shown, Toy(name="good")])
    _, whole = _asked(folder)
    assert whole["mask_map50"] == pytest.approx(1.0)
    assert whole["pixel_f1"] > 0.9
    toys.toy_set(folder, [*shown[:3], Toy(name="glare", level=240, image_class="good", marked=False)])
    _, glare = _asked(folder)  # a false mask stands first: precision 1/2, 2/3, 3/4
    assert glare["mask_map50"] == pytest.approx(0.75, abs=1e-3)


def test_views_of_one_part_are_judged_together(folder: Path):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    shown = [
        Toy(name="a-top", part="a"),
        Toy(name="a-side", part="a", level=230),
        Toy(name="b-top", part="b"),
        Toy(name="b-side", part="b"),
    ]
    toys.toy_set(folder, shown)
    code, found = _asked(folder)
    assert code == 0
    assert found["parts"] == [
        {"part": "a", "defective": True, "rejected": True, "counted": True},
        {"part": "b", "defective": False, "rejected": False, "counted": True},
    ]
    assert found["pictures"] == 4


def test_defective_pictures_without_an_outline_are_left_out_of_pixels_unless_a_protocol_says_otherwise(
    folder: Path,
):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    toys.toy_set(
        folder, [*_mixed(), Toy(name="uneven", level=240, side=20, image_class="uneven", marked=False)]
    )
    _, plain = _asked(folder)
    _, tile = _asked(folder, "--protocol", "magnetic_tile")
    assert (plain["pixel"]["left_out"], tile["pixel"]["left_out"]) == (1, 0)
    assert tile["pixel_f1"] < plain["pixel_f1"]
    assert plain["part"]["defective"] == tile["part"]["defective"] == 6


def test_a_claim_the_sample_cannot_carry_is_refused_with_what_it_would_take(folder: Path):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.35})
    toys.toy_set(folder, [t for t in _mixed() if t.name != "glare"])
    code, found = _asked(folder, "--claim", "escapes<1%", "--hold-escapes", "0.02")
    assert code == 1
    refused = next(row for row in found["claims"] if row["claim"] == "escapes under 1 %")
    assert refused["more_parts"] == 294
    assert found["held"]["limits"] is None
    assert "149 without an escape" in found["held"]["note"]
    assert _asked(folder, "--claim", "escapes<60%")[0] == 0


def test_the_cheapest_limits_follow_what_mistakes_cost(folder: Path):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    toys.toy_set(folder, _mixed())
    _, dear = _asked(folder, "--escape-cost", "50")
    _, rare = _asked(folder, "--escape-cost", "50", "--defective-share", "0.0001")
    # the faint one at 100 / 255 is caught where it is dear, the glare at 240 / 255 let go where they are rare
    assert dear["cheapest"]["best_escapes"] == 0
    assert 0.26 < dear["cheapest"]["best_limits"]["anomaly"] <= 100 / 255
    assert rare["cheapest"]["best_overkill"] == 0
    assert rare["cheapest"]["best_limits"]["anomaly"] > 240 / 255


def test_robustness_names_the_level_at_which_the_bound_breaks(folder: Path):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    toys.toy_set(
        folder,
        [
            *[Toy(name=f"good{i}") for i in range(4)],
            *[Toy(name=f"bad{i}", level=200, at=(4 + 2 * i, 30)) for i in range(20)],
        ],
    )
    code, found = _asked(folder, "--robustness", "--robustness-parts", "0")
    assert code == 0
    assert found["part"]["escapes"] == 0
    card = found["robustness"]
    assert card["darker"]["breaks_at"] == 30  # 200 x 0.7 = 140 lies below 0.6 x 255 = 153
    assert card["brighter"]["breaks_at"] is None
    assert card["shift"]["breaks_at"] is None
    assert card["brighter"]["overkill_breaks_at"] is None
    assert found["robustness_run"]["clean"]["escapes"] == 0


def test_a_picture_the_engine_cannot_look_at_turns_its_part_away(folder: Path):
    about = toys.card(prepare=[{"kind": "gain", "target": 60}])
    toys.toy_bundle(folder, toys.brightness_map(), about, {"anomaly": 0.6})
    data = toys.toy_set(folder, [*_mixed(), Toy(name="blackgood"), Toy(name="blackbad", level=9)])
    for name in ("blackgood", "blackbad"):  # its gain cannot be normalised
        cv2.imwrite(str(folder / "images" / f"{name}.png"), np.zeros((64, 64), np.uint8))
    code, found = _asked(folder, "--data", str(data), "--report", str(folder / "r.html"))
    assert code == 0
    part = found["part"]
    assert part["not_inspected"] == 2
    assert (part["defective"], part["escapes"]) == (6, 1)
    assert (part["good"], part["overkill"]) == (8, 2)
    assert "the picture is black" in (folder / "r.html").read_text()
    row = next(row for row in found["trade_off"] if row["step"] == 0)
    assert (row["escapes"], row["overkill"]) == (1, 2)


def test_a_bundle_that_can_look_at_nothing_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    about = toys.card(prepare=[{"kind": "gain", "target": 60}])
    toys.toy_bundle(folder, toys.brightness_map(), about, {"anomaly": 0.6})
    toys.toy_set(folder, [Toy(name="a")], grey=-90)
    assert _asked(folder)[0] == 3
    assert "could not look at a single picture" in capsys.readouterr().err


def test_pictures_it_was_taught_on_can_be_left_out_by_their_bytes(folder: Path):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    toys.toy_set(folder, _mixed())
    taught = toys.toy_set(folder / "taught", [Toy(name="other_name")])  # the same bytes as good0
    _, found = _asked(folder, "--except", str(taught))
    assert found["left_out"] == 1
    assert found["part"]["good"] == 6


def test_the_set_that_taught_is_no_evidence_and_the_summary_says_so(folder: Path):
    data = toys.toy_set(folder, _mixed())
    about = toys.card(data={"val": described(read_coco(data))})
    toys.toy_bundle(folder, toys.brightness_map(), about, {"anomaly": 0.6})
    _, found = _asked(folder)
    assert found["summary"][0] == "set.json is the set that chose its limits: these figures flatter it"
    toys.toy_set(folder, _mixed()[1:])
    assert _asked(folder)[1]["notes"] == []


def test_the_promotion_rule_reads_what_evaluate_writes(folder: Path):
    proof = {"pictures": 24, "verdicts": {"pictures": 12, "parts": 12, "verdict_flips": 0}}
    about = toys.card(training={"parity": proof})
    path = toys.toy_bundle(folder, toys.brightness_map(), about, {"anomaly": 0.6})
    toys.toy_set(folder, _mixed())
    _, found = _asked(folder, "--robustness", "--robustness-parts", "4")
    card = load_bundle(path, [folder / "keys"]).card
    known = examined(found["bundle"], card, found)
    assert len(known.parts) == 12
    assert (known.parity_pictures, known.parity_flips) == (12, 0)
    assert sum(p.defective and not p.rejected for p in known.parts.values()) == found["part"]["escapes"]
    assert known.golden_set == found["data_sha256"]
    assert known.robustness is not None
    assert set(known.robustness) == {drift.name for drift in DRIFTS}


def test_bad_input_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(task="detect"), {"anomaly": 0.6})
    toys.toy_set(folder, _mixed())
    for more, says in (
        (["--protocol", "nonsense"], "there is no protocol 'nonsense'; choose one of: bsdata, deeppcb"),
        ([], "teaches spot, the bundle knows anomaly"),
        (["--claim", "none"], "is no claim"),
        (["--data", "gone.json"], "gone.json"),
        (["--hold-escapes", "3"], "--hold-escapes is a share"),
        (["--escape-cost", "-1"], "--escape-cost says how many"),
    ):
        assert _asked(folder, *more)[0] == 3
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
        assert not (folder / "figures.json").exists()
    assert main(["--bundle", str(folder), "--data", str(folder / "set.json")]) == 3


def test_labels_that_were_drawn_on_another_size_measure_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    path = toys.toy_set(folder, _mixed())
    document = json.loads(path.read_text())
    document["images"][3]["width"] *= 2
    path.write_text(json.dumps(document))
    assert _asked(folder)[0] == 3
    said = capsys.readouterr().err
    assert "good3" in said
    assert "its labels were drawn on" in said


def test_a_bundle_of_a_stranger_is_not_evaluated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    toys.toy_set(folder, _mixed())
    monkeypatch.setenv(KEYS_VARIABLE, str(folder / "other"))
    assert _asked(folder)[0] == 3
    assert "does not trust" in capsys.readouterr().err
    assert _asked(folder, "--trusted", str(folder / "keys"))[0] == 0


def test_sets_with_pictures_of_the_same_name_do_not_become_one_part(folder: Path):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    one = toys.toy_set(folder / "one", [Toy(name="a"), Toy(name="b", level=230)])
    two = toys.toy_set(folder / "two", [Toy(name="a", level=230), Toy(name="b")])
    two = two.rename(two.with_name("other.json"))
    code, found = _asked(folder, "--data", str(one), "--data", str(two))
    assert code == 0
    assert (found["part"]["defective"], found["part"]["good"]) == (2, 2)
    assert found["part"]["escapes"] == found["part"]["overkill"] == 0


def test_figures_and_refusals_go_to_programs_on_standard_output_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    toys.toy_bundle(folder, toys.brightness_map(), toys.card(), {"anomaly": 0.6})
    data = str(toys.toy_set(folder, _mixed()))
    order = ["--bundle", str(folder / "job"), "--json", "-", "--data"]
    assert main([*order, data]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["part"]["escapes"]) == (True, 1)
    assert main([*order, str(folder / "none.json")]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "ok": False,
        "error": said.err.removeprefix("gatesight evaluate: ").rstrip("\n"),
    }
    assert not (folder / "-").exists()
