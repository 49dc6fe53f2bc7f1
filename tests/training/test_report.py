# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report: every mistake is a picture in it, it fetches and runs nothing, and hostile names stay text."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from tests.training.toys import Toy, brightness_map, card, toy_bundle, toy_set
from training.evaluate import main
from training.report.drawings import chart, nice
from weights.keys import KEYS_VARIABLE


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    toy_bundle(folder, brightness_map(), card(name="<b>toy</b>"), {"anomaly": 0.6})
    data = toy_set(
        folder,
        [
            *[Toy(name=f"good{i}") for i in range(5)],
            *[Toy(name=f"bad{i}", level=220, at=(5 * i, 20)) for i in range(5)],
            *[Toy(name=f"faint{i}", level=110, at=(9 * i, 30)) for i in range(3)],
            *[Toy(name=f"glare{i}", level=240, image_class="good", marked=False) for i in range(2)],
        ],
    )
    page = folder / "out" / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEYS_VARIABLE, str(folder / "keys"))
        arguments = [
            "--bundle",
            str(folder / "job"),
            "--data",
            str(data),
            "--report",
            str(page),
            "--robustness",
            "--hold-escapes",
            "0.4",
        ]
        assert main(arguments) == 0
    return page.read_text(encoding="utf-8")


def test_every_escape_and_every_overkill_is_shown_with_its_heat(html: str):
    assert "Every escape (3)" in html
    assert "Every overkill (2)" in html
    for name in ("faint0.png", "faint1.png", "faint2.png", "glare0.png", "glare1.png"):
        assert f'alt="{name} with marks and findings"' in html
        assert f'alt="{name} with its score map"' in html
    assert html.count("data:image/jpeg;base64,") == 10
    for coded in re.findall(r"data:image/jpeg;base64,([^\"]+)", html):
        assert base64.b64decode(coded, validate=True).startswith(b"\xff\xd8")


def test_it_says_what_a_manager_and_an_auditor_ask(html: str):
    assert "3 escapes in 8 defective parts: at most 71.1 %" in html
    assert "escapes under 1 %: refused" in html
    assert "Ada Wong" in html
    assert "f" * 64 in html
    assert "breaks at" in html
    assert "Limits that would hold escapes to 40 %" in html
    assert "risk of an escape is at most 40 %" in html


def test_it_fetches_nothing_and_runs_nothing(html: str):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert digest in policy[1]
    assert "<script" not in html
    assert not re.search(r"\s(?:style|on\w+)=", html)
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)
    assert "http" not in html.replace("http-equiv", "")


def test_names_from_a_card_stay_text(html: str):
    assert "<b>toy</b>" not in html
    assert "&lt;b&gt;toy&lt;/b&gt;" in html


def test_a_chart_is_made_of_numbers_inside_its_frame():
    svg = chart([("<x>", "main", [(0, 0), (2, 5)])], x_label="a<b", y_label="c", x_max=1, y_max=1)
    assert "<x>" not in svg
    assert "a&lt;b" in svg
    points = re.search(r'points="([^"]+)"', svg)
    assert points is not None
    assert all(0 <= float(v) <= 420 for v in re.split(r"[ ,]", points[1]))


@pytest.mark.parametrize(("value", "axis"), [(0.03, 0.04), (0.81, 1.0), (0.01, 0.01), (1.5, 2.0), (0.0, 0.01)])
def test_axes_end_on_round_numbers(value: float, axis: float):
    assert nice(value) == pytest.approx(axis)
