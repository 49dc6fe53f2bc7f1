# SPDX-License-Identifier: AGPL-3.0-or-later
"""Blind review: nobody sees another's answer before all have answered; a third decides what is disputed."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets import review
from datasets.adding import add
from datasets.beliefs import history, read
from datasets.review import Answer
from datasets.store import DatasetHome
from inspection.types import StationFault
from tests.datasets.homes import WHO, WHY, box, labelled_set, picture

ANN, BO, CY = "Ann", "Bo", "Cy"


@pytest.fixture
def asked(home: DatasetHome, tmp_path: Path) -> list[int]:
    add(home, labelled_set(*(picture(tmp_path, n) for n in range(4))), who=WHO, why=WHY, unlabelled=True)
    return review.ask(home, [f"p{n:04d}.png" for n in range(4)], [ANN, BO], who="Lead", why="double look")


def test_an_answer_is_not_shown_until_all_have_answered(home: DatasetHome, asked: list[int]) -> None:
    assert [task.id for task in review.todo(home, BO)] == asked
    after = review.answer(home, asked[0], ANN, Answer(labels=(box(),)))
    assert (after.state, after.answers, after.answered) == ("waiting", {}, (ANN,))
    (seen_by_bo,) = [task for task in review.todo(home, BO) if task.id == asked[0]]
    assert seen_by_bo.answers == {}
    assert read(home).pictures[0].labels == (), "nor does it count yet"
    assert history(home, "p0000.png") == []
    done = review.answer(home, asked[0], BO, Answer(labels=(box("dent"),)))
    assert done.state == "disputed"
    assert done.answers[ANN].labels == (box(),)
    assert asked[0] not in [task.id for task in review.todo(home, BO)]


def test_what_all_say_counts(home: DatasetHome, asked: list[int]) -> None:
    review.answer(home, asked[1], BO, Answer(labels=(box(x0=1.5),), image_class="bad"))
    done = review.answer(home, asked[1], ANN, Answer(labels=(box(x0=1.0),), image_class="bad"))
    assert done.state == "agreed"
    one = read(home).pictures[1]
    assert (one.labels, one.image_class) == ((box(x0=1.0),), "bad")  # as Ann drew it, who was asked first
    assert {record.why for record in history(home, "p0001.png")} == {"blind review"}


@pytest.mark.parametrize(
    ("ann", "bo"),
    [
        (Answer(labels=(box(),)), Answer()),
        (Answer(labels=(box(),)), Answer(labels=(box("dent"),))),
        (Answer(labels=(box(x0=1.0),)), Answer(labels=(box(x0=3.9),))),
        (Answer(labels=(box(), box("dent"))), Answer(labels=(box(),))),
        (Answer(image_class="good"), Answer(image_class="bad")),
    ],
)
def test_every_difference_is_a_dispute_that_a_third_person_decides(
    home: DatasetHome, asked: list[int], ann: Answer, bo: Answer
) -> None:
    review.answer(home, asked[0], ANN, ann)
    assert review.answer(home, asked[0], BO, bo).state == "disputed"
    assert [task.id for task in review.disputed(home)] == asked[:1]
    with pytest.raises(StationFault, match="somebody else"):
        review.adjudicate(home, asked[0], ann, who=BO, why="I am right")
    with pytest.raises(StationFault, match="reason"):
        review.adjudicate(home, asked[0], ann, who=CY, why="")
    decided = Answer(labels=(box("chip", 2.0),))
    assert (
        review.adjudicate(home, asked[0], decided, who=CY, why="seen under the microscope").state
        == "adjudicated"
    )
    assert read(home).pictures[0].labels == decided.labels
    record = history(home, "p0000.png")[-1]
    assert (record.who, record.why) == (CY, "seen under the microscope")
    with pytest.raises(StationFault, match="nothing to decide"):
        review.adjudicate(home, asked[0], ann, who=CY, why="on second thoughts")


def test_an_answer_is_given_once_by_those_who_were_asked(home: DatasetHome, asked: list[int]) -> None:
    review.answer(home, asked[0], ANN, Answer())
    with pytest.raises(StationFault, match="already"):
        review.answer(home, asked[0], ANN, Answer(labels=(box(),)))
    with pytest.raises(StationFault, match="was not asked"):
        review.answer(home, asked[0], CY, Answer())
    with pytest.raises(StationFault, match="is waiting"):
        review.adjudicate(home, asked[0], Answer(), who=CY, why="in a hurry")
    with pytest.raises(StationFault, match="no review task"):
        review.answer(home, 99, ANN, Answer())


@pytest.mark.parametrize("reviewers", [[], [ANN], [ANN, ANN], [ANN, " Ann "], [ANN, ""]])
def test_two_different_people_are_needed(home: DatasetHome, asked: list[int], reviewers: list[str]) -> None:
    with pytest.raises(StationFault, match="two different"):
        review.ask(home, ["p0000.png"], reviewers, who="Lead", why="x")


def test_a_picture_is_under_one_review_at_a_time(home: DatasetHome, asked: list[int]) -> None:
    with pytest.raises(StationFault, match="under review already"):
        review.ask(home, ["p0000.png"], [ANN, BO], who="Lead", why="x")
    for name in (ANN, BO):
        review.answer(home, asked[0], name, Answer(image_class="good"))
    assert review.ask(home, ["p0000.png"], [BO, CY], who="Lead", why="once more") == [5]


def test_agreement_counts_finished_tasks_only(home: DatasetHome, asked: list[int]) -> None:
    assert review.agreement(home).tasks == 0
    said = {ANN: ["good", "bad", "bad"], BO: ["good", "bad", "good"]}
    for number in range(3):
        for name, words in said.items():
            labels = (box(),) if words[number] == "bad" else ()
            review.answer(home, asked[number], name, Answer(image_class=words[number], labels=labels))
    review.answer(home, asked[3], ANN, Answer(image_class="bad"))
    told = review.agreement(home)
    assert told.tasks == 3
    assert told.verdicts is not None
    assert told.verdicts.value == pytest.approx(0.4)  # 2 of 3 agree; by chance (1*2 + 2*1) / 9
    assert told.marks_f1 == pytest.approx(2 / 3)
    assert told.pairs == {(ANN, BO): told.verdicts}


def test_three_people_are_measured_together_and_in_pairs(home: DatasetHome, tmp_path: Path) -> None:
    add(home, labelled_set(*(picture(tmp_path, n) for n in range(6))), who=WHO, why=WHY, unlabelled=True)
    names = [f"p{n:04d}.png" for n in range(6)]
    for number, task in enumerate(review.ask(home, names, [ANN, BO, CY], who="Lead", why="x")):
        for name in (ANN, BO, CY):
            word = "good" if number % 2 or (name == CY and number == 2) else "bad"
            review.answer(home, task, name, Answer(image_class=word))
    told = review.agreement(home)
    assert told.verdicts is not None
    assert told.verdicts.pictures == 6
    assert 0.5 < told.verdicts.value < 1.0
    assert told.pairs[ANN, BO].value == 1.0
    assert len(told.pairs) == 3
    assert len(review.disputed(home)) == 1
