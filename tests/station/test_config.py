# SPDX-License-Identifier: AGPL-3.0-or-later
"""station.toml: every key known, every error one sentence that names file, line, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspection.config import StationConfig, load_config
from inspection.types import StationFault

GOOD = """\
[station]
name = "cell 7"
data_dir = "var"
recipe = "recipe.json"
bundle = "weights/default"

[line]
pulses_per_mm = 10
min_pitch_mm = 30
max_speed_mm_s = 500
travel_mm = 300
gate_window_mm = 20
deadline_ms = 280

[[camera]]
serial = "LS0001"
width_px = 320
height_px = 336

[[camera]]
serial = "LS0002"
width_px = 320
height_px = 336
view_px = [0, 0, 320, 320]
"""


def load(folder: Path, text: str) -> StationConfig:
    path = folder / "station.toml"
    path.write_text(text)
    return load_config(path)


def test_a_good_file_is_read_and_paths_are_absolute(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.station.data_dir == tmp_path / "var"
    assert config.station.bundle == tmp_path / "weights/default"
    assert config.camera[0].view == (0, 0, 320, 336)
    assert config.camera[1].view == (0, 0, 320, 320)
    assert config.line.pair_window_pulses == 150
    assert config.board_rows()[-1] == "camera:LS0002"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("travel_mm = 300", "travl_mm = 300", ("line 11", "unknown key line.travl_mm", "spelling")),
        ("deadline_ms = 280", "deadline_ms = -1", ("line 13", "line.deadline_ms", "greater than 0")),
        ("[0, 0, 320, 320]", "[0, 0, 320, 420]", ("camera.1", "view_px", "outside the 320x336 picture")),
        ('"LS0002"', '"LS0001"', ("serial LS0001", "twice")),
        ('name = "cell 7"', "name =", ("not valid TOML", "line 2")),
        ('bundle = "weights/default"\n', "", ("station.bundle", "missing")),
        ("height_px = 336\nview_px", 'height_px = "tall"\nview_px', ("line 23", "camera.1.height_px", "tall")),
    ],
)
def test_an_error_names_its_place_and_remedy(
    tmp_path: Path, old: str, new: str, words: tuple[str, ...]
) -> None:
    assert old in GOOD
    with pytest.raises(StationFault) as caught:
        load(tmp_path, GOOD.replace(old, new))
    text = str(caught.value)
    assert "station.toml" in text
    assert "\n" not in text
    for word in words:
        assert word in text


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StationFault, match=r"nowhere\.toml.*--config"):
        load_config(tmp_path / "nowhere.toml")
