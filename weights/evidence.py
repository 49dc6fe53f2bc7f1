# SPDX-License-Identifier: AGPL-3.0-or-later
"""From what was measured of a bundle to what the promotion rule reads.

An evaluation is the JSON of `gatesight evaluate`. For a comparison it must name its parts:

    data_sha256     hash of the labelled set that was judged: the golden set's name
    parts           [{"part": NAME, "defective": BOOL, "rejected": BOOL}, ...]
    robustness      {DISTURBANCE: LEVEL | null, ...}, optional: the level at which the escape bound breaks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inspection.types import StationFault
from weights.card import Card
from weights.promotion import Examined, GoldenPart


def examined(
    sha256: str,
    card: Card,
    evaluation: Mapping[str, Any] | None,
    *,
    latency_ms: float | None = None,
    refusal: str = "",
) -> Examined:
    """All that is known of one bundle. StationFault when its evaluation cannot be read."""
    parity = card.training.get("parity")
    parity = parity if isinstance(parity, Mapping) else {}
    if isinstance(parity.get("verdicts"), Mapping):  # beside the export's own figures
        parity = parity["verdicts"]
    parts, robustness, golden = {}, None, ""
    if evaluation is not None:
        parts = _parts(sha256, evaluation)
        robustness = _robustness(sha256, evaluation)
        golden = str(evaluation.get("data_sha256", ""))
    return Examined(
        bundle=sha256,
        golden_set=golden,
        parts=parts,
        parity_pictures=_count(parity.get("pictures")),
        parity_flips=_count(parity.get("verdict_flips")),
        robustness=robustness,
        latency_ms=latency_ms,
        refusal=refusal,
    )


def on_the_same_set(
    active: Sequence[Mapping[str, Any]], candidate: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """The newest pair of evaluations made on one golden set; else the newest of each."""
    for mine in reversed(candidate):
        golden = mine.get("data_sha256")
        for theirs in reversed(active):
            if golden and theirs.get("data_sha256") == golden:
                return theirs, mine
    return (active[-1] if active else None), (candidate[-1] if candidate else None)


def _parts(sha256: str, evaluation: Mapping[str, Any]) -> dict[str, GoldenPart]:
    listed = evaluation.get("parts", [])
    try:
        parts = {
            str(item["part"]): GoldenPart(
                defective=_truth(item["defective"]), rejected=_truth(item["rejected"])
            )
            for item in listed
            if item.get("counted", True)  # defects below the limit of detectability are reported, not judged
        }
    except (KeyError, TypeError, AttributeError) as e:
        raise StationFault(
            f"The evaluation of bundle {sha256[:12]} does not list its parts ({e!r}): evaluate it again."
        ) from e
    if len(parts) != sum(bool(item.get("counted", True)) for item in listed):
        raise StationFault(f"The evaluation of bundle {sha256[:12]} names a part twice: evaluate it again.")
    return parts


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _robustness(sha256: str, evaluation: Mapping[str, Any]) -> dict[str, float | None] | None:
    card = evaluation.get("robustness")
    if not isinstance(card, Mapping):
        return None
    levels: dict[str, float | None] = {}
    for name, level in card.items():
        value = level.get("breaks_at") if isinstance(level, Mapping) else level
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise StationFault(
                f"The evaluation of bundle {sha256[:12]}: robustness.{name} must be a number or null:"
                " evaluate it again."
            )
        levels[str(name)] = None if value is None else float(value)
    return levels


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
