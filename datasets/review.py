# SPDX-License-Identifier: AGPL-3.0-or-later
"""Blind review: two or more people answer about a picture, and none sees another's answer before all have.

    ask(home, pictures, reviewers)  ->  todo(home, "Ann")  ->  answer(home, task, "Ann", ...)
    after the last answer: agreed, and their labels count; or disputed, and `adjudicate` by somebody else

Agreed means: the same judgement of the whole picture, and every mark has its partner of the same class at IoU
0.5 or more in each other answer. The labels of the first reviewer asked then count.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from sqlalchemy import Connection, select

from datasets import schema as t
from datasets.agreement import BoxAgreement, Kappa, cohen_kappa, fleiss_kappa, match_labels
from datasets.beliefs import believed, one_picture
from datasets.labelling import settle_in
from datasets.labels import GOOD_CLASSES, Label
from datasets.shapes import canonical, label_from_plain, label_to_plain
from datasets.store import Act, DatasetHome
from inspection.types import StationFault

SAME_MARK_IOU = 0.5

State = Literal["waiting", "agreed", "disputed", "adjudicated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one person says about a picture."""

    labels: tuple[Label, ...] = ()
    image_class: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"labels": [label_to_plain(label) for label in self.labels], "image_class": self.image_class}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Answer:
        """Undo `to_plain`."""
        return cls(
            labels=tuple(label_from_plain(label) for label in plain["labels"]),
            image_class=plain["image_class"],
        )

    @property
    def verdict(self) -> str:
        """One word for the whole picture: its class; else `good`, or the classes that are marked."""
        if self.image_class is not None:
            return "good" if self.image_class in GOOD_CLASSES else self.image_class
        return ", ".join(sorted({label.class_name for label in self.labels})) or "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One picture under review, as far as it may be seen."""

    id: int
    picture: str
    reviewers: tuple[str, ...]
    answered: tuple[str, ...]  # who has answered
    answers: dict[str, Answer]  # empty until all have answered
    state: State


def ask(
    home: DatasetHome, pictures: Sequence[str], reviewers: Sequence[str], *, who: str, why: str
) -> list[int]:
    """Give pictures to reviewers; the numbers of the tasks. It takes two different people at least."""
    names, pictures = [name.strip() for name in reviewers], list(dict.fromkeys(pictures))
    if len(set(names)) < 2 or len(set(names)) != len(names) or not all(names):
        raise StationFault(f"A blind review needs two different reviewers at least, not {list(reviewers)}.")
    with home.acting("review", who, why) as act:
        found = {one.name: one.id for one in believed(act.connection, names=pictures)}
        if missing := [name for name in pictures if name not in found]:
            raise StationFault(f"The dataset has no picture named {missing[0]!r}: nobody was asked.")
        if busy := _open_pictures(act.connection, found):
            raise StationFault(f"{busy[0]} is under review already: wait until its task is done.")
        tasks = act.insert(t.tasks, [{"picture_id": found[name]} for name in pictures])
        act.insert(t.assignments, [{"task_id": task, "reviewer": name} for task in tasks for name in names])
    return tasks


def todo(home: DatasetHome, reviewer: str) -> list[Task]:
    """What a reviewer has not answered yet, in the order in which it was asked."""
    return [task for task in tasks(home) if reviewer in task.reviewers and reviewer not in task.answered]


def disputed(home: DatasetHome) -> list[Task]:
    """Tasks on which the reviewers differ and nobody has decided yet."""
    return [task for task in tasks(home) if task.state == "disputed"]


def tasks(home: DatasetHome, ids: Collection[int] | None = None) -> list[Task]:
    """Tasks in the order in which they were asked; answers are shown only where all have answered."""
    with home.reading() as connection:
        return _tasks(connection, ids)


def answer(home: DatasetHome, task: int, reviewer: str, given: Answer, *, why: str = "blind review") -> Task:
    """Give a reviewer's answer, once and for good; the task as the reviewer may see it then.

    With the last answer the task is agreed, and its labels count, or it is disputed.
    """
    with home.acting("answer", reviewer, why) as act:
        present = _task(act.connection, task)
        if reviewer not in present.reviewers:
            raise StationFault(f"{reviewer} was not asked about {present.picture}.")
        if reviewer in present.answered:
            raise StationFault(f"{reviewer} has answered about {present.picture} already: an answer stands.")
        row = {"task_id": task, "reviewer": reviewer, "body": canonical(given.to_plain())}
        act.insert(t.answers, [row])
        after = _task(act.connection, task)
        if after.answers and _all_agree(list(after.answers.values())):
            _conclude(act, after, after.answers[after.reviewers[0]], "agreed")
        return _task(act.connection, task)


def adjudicate(home: DatasetHome, task: int, decided: Answer, *, who: str, why: str) -> Task:
    """Decide a disputed task, by somebody who is none of its reviewers; the labels decided on count."""
    with home.acting("adjudicate", who, why) as act:
        present = _task(act.connection, task)
        if present.state != "disputed":
            raise StationFault(
                f"The review of {present.picture} is {present.state}: there is nothing to decide."
            )
        if who.strip() in present.reviewers:
            raise StationFault(f"{who} reviewed {present.picture}: somebody else must decide.")
        _conclude(act, present, decided, "adjudicated")
        return _task(act.connection, task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well the reviewers of the finished tasks agree."""

    tasks: int
    verdicts: Kappa | None  # Cohen's for two reviewers, Fleiss' for more; None without comparable tasks
    pairs: dict[tuple[str, str], Kappa]  # Cohen's, of every two people who answered the same tasks
    marks_f1: float | None  # of marks matched at IoU 0.5, over every two answers; None where nobody marked


def agreement(home: DatasetHome) -> Agreement:
    """Agreement over every task that all of its reviewers have answered."""
    done = [task for task in tasks(home) if task.answers]
    if not done:
        return Agreement(tasks=0, verdicts=None, pairs={}, marks_f1=None)
    sizes = {len(task.reviewers) for task in done}
    together: dict[tuple[str, str], list[tuple[str, str]]] = {}
    matched = []
    for task in done:
        for a, b in combinations(sorted(task.reviewers), 2):
            one, other = task.answers[a], task.answers[b]
            together.setdefault((a, b), []).append((one.verdict, other.verdict))
            matched.append(match_labels(one.labels, other.labels, at_least=SAME_MARK_IOU))
    pairs = {names: cohen_kappa(*zip(*said, strict=True)) for names, said in together.items()}
    if len(pairs) == 1:
        verdicts = next(iter(pairs.values()))
    else:
        said = [[task.answers[name].verdict for name in task.reviewers] for task in done]
        verdicts = fleiss_kappa(said) if len(sizes) == 1 else None
    return Agreement(tasks=len(done), verdicts=verdicts, pairs=pairs, marks_f1=_f1(matched))


def _f1(matched: Sequence[BoxAgreement]) -> float | None:
    both = sum(len(m.pairs) for m in matched)
    alone = sum(len(m.only_first) + len(m.only_second) for m in matched)
    return 2 * both / (2 * both + alone) if both or alone else None


def _all_agree(answers: Sequence[Answer]) -> bool:
    """Every two of them."""
    for one, other in combinations(answers, 2):
        matched = match_labels(one.labels, other.labels, at_least=SAME_MARK_IOU)
        if one.image_class != other.image_class or matched.only_first or matched.only_second:
            return False
    return True


def _conclude(act: Act, task: Task, decided: Answer, how: State) -> None:
    act.insert(t.outcomes, [{"task_id": task.id, "how": how, "body": canonical(decided.to_plain())}])
    settle_in(act, one_picture(act.connection, task.picture), decided.labels, decided.image_class)


def _open_pictures(connection: Connection, found: dict[str, int]) -> list[str]:
    """Names of pictures with a task that has no outcome."""
    query = select(t.tasks.c.picture_id).outerjoin(t.outcomes, t.outcomes.c.task_id == t.tasks.c.id)
    busy = set(connection.execute(query.where(t.outcomes.c.id.is_(None))).scalars())
    return [name for name, number in found.items() if number in busy]


def _task(connection: Connection, task: int) -> Task:
    found = _tasks(connection, [task])
    if not found:
        raise StationFault(f"There is no review task {task}.")
    return found[0]


def _tasks(connection: Connection, ids: Collection[int] | None) -> list[Task]:
    query = select(t.tasks.c.id, t.pictures.c.name).join(t.pictures, t.pictures.c.id == t.tasks.c.picture_id)
    if ids is not None:
        query = query.where(t.tasks.c.id.in_(list(ids)))
    rows = connection.execute(query.order_by(t.tasks.c.id)).all()
    known = {row.id for row in rows}
    asked = _by_task(connection, select(t.assignments).order_by(t.assignments.c.id), known)
    said = _by_task(connection, select(t.answers).order_by(t.answers.c.id), known)
    ended = {r.task_id: r.how for r in connection.execute(select(t.outcomes.c.task_id, t.outcomes.c.how))}
    return [_one(row, asked[row.id], said.get(row.id, []), ended.get(row.id)) for row in rows]


def _by_task(connection: Connection, query: Any, known: Collection[int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in connection.execute(query):
        if row.task_id in known:
            found.setdefault(row.task_id, []).append(row)
    return found


def _one(row: Any, asked: Sequence[Any], said: Sequence[Any], how: State | None) -> Task:
    reviewers = tuple(one.reviewer for one in asked)
    complete = len(said) == len(reviewers)
    answers = {one.reviewer: Answer.from_plain(json.loads(one.body)) for one in said} if complete else {}
    return Task(
        id=row.id,
        picture=row.name,
        reviewers=reviewers,
        answered=tuple(one.reviewer for one in said),
        answers=answers,
        state=how or ("disputed" if complete else "waiting"),
    )
