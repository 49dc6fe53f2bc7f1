# SPDX-License-Identifier: AGPL-3.0-or-later
"""The card of a bundle: what goes into the model, what comes out, where it comes from, what it can see.

`card.json` is version 1 of this schema; unknown keys and unknown versions are refused, because a card that
is only half understood describes another model than the one that runs. The free tables (`data`, `training`,
`metrics`, `detectability`) are for people and for promotion rules; the station does not decide by them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from inspection.prepare import Step, takes_reference
from inspection.types import StationFault

CARD_VERSION = 1
_Strict = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CardInput(BaseModel):
    """The model's one input: float32 (batch, channels, height, width), value = pixel x scale."""

    model_config = _Strict

    name: str = "images"
    width_px: int = Field(ge=8, le=8192)
    height_px: int = Field(ge=8, le=8192)
    channels: Literal[1, 3] = 3  # a grey picture goes into all three
    scale: float = Field(default=1 / 255, gt=0)


class CardOutput(BaseModel):
    """The model's one output, float32, batch first.

    boxes_n6: (n, 6) rows of x0, y0, x1, y1, score, class in input pixels. maps_nchw: (classes, h, w) scores
    over the whole input. scores_nc: (classes,) scores of the whole picture. All scores lie in 0..1.
    """

    model_config = _Strict

    name: str = "output0"
    kind: Literal["boxes_n6", "maps_nchw", "scores_nc"] = "boxes_n6"


class Card(BaseModel):
    """What a person and a station need to know of a model."""

    model_config = _Strict

    card_version: Literal[1] = CARD_VERSION
    name: str = Field(min_length=1, max_length=80)
    version: str = Field(default="1", min_length=1, max_length=40)
    created_utc: str = ""  # ISO 8601
    licence: str = Field(min_length=1)
    summary: str = ""
    intended_use: str = ""
    task: Literal["detect", "segment", "classify", "anomaly"] = "detect"
    prepare: tuple[Step, ...] = ()  # before the letterbox, in order
    input: CardInput
    output: CardOutput = CardOutput()
    classes: list[str] = Field(min_length=1, max_length=1000)  # index = class number of the output
    floor_score: float = Field(default=0.05, ge=0, le=1)  # rows below are no findings at all
    data: dict[str, Any] = {}
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    detectability: dict[str, Any] = {}

    @property
    def picture_channels(self) -> Literal[1, 3]:
        """Channels of the pictures it is asked about; planes made from a reference start from grey."""
        return 1 if takes_reference(self.prepare) else self.input.channels

    @model_validator(mode="after")
    def _planes_fit(self) -> Card:
        if takes_reference(self.prepare) and self.input.channels != 3:
            raise ValueError("a reference step makes three planes, input.channels must be 3")
        return self

    @field_validator("classes")
    @classmethod
    def _classes_are_names(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value) or not all(name.strip() for name in value):
            raise ValueError("class names must be unique and not empty")
        return value


def parse_card(data: bytes, source: str) -> Card:
    """Card from the bytes of card.json; StationFault with one sentence naming the first bad field."""
    try:
        return Card.model_validate_json(data)
    except ValidationError as e:
        raise StationFault(_first_error(e, source)) from e


def _first_error(e: ValidationError, source: str) -> str:
    first = e.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    if where == "card_version":
        version = first["input"]
        return f"{source} has card_version {version!r}, this station reads {CARD_VERSION}: update the station."
    return f"{source}: {where}: {first['msg']}."
