# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the papers and makers of public data sets want them judged, each with its source. Pure.

`--protocol NAME` adds these figures to those that every evaluation has; it changes none of them but one: where
a set's makers publish empty masks for a few defective pictures, the protocol takes them at their word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inspection.types import StationFault
from training.statistics import Scored, f_score, mean_average_precision, voc_average_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """One way to judge. average: how mAP is computed; iou: overlap that a hit must exceed."""

    name: str
    says: str
    average: str | None = None  # "icdar" | "voc" | "coco"
    iou: float = 0.5
    f_score: bool = False  # at the limit that the bundle recorded when it was chosen on val
    unmarked_are_free: bool = False
    headline: tuple[str, ...] = ()  # keys of the JSON that people compare


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="deeppcb",
            says="a hit needs the right class and an IoU above 0.33; mAP as the ICDAR 2015 script sums it, F "
            "at the limit recorded on val (Tang et al., arXiv:1902.06197, section 4)",
            average="icdar",
            iou=0.33,
            f_score=True,
            headline=("map_protocol", "f_protocol"),
        ),
        Protocol(
            name="neu_det",
            says="VOC mAP at IoU 0.5, all points of recall (He et al., IEEE TIM 69, 2020)",
            average="voc",
            headline=("map_protocol",),
        ),
        Protocol(
            name="magnetic_tile",
            says="AUROC of defect against free, F1 and IoU of defect pixels over all pictures; `free` pictures "
            "have empty masks, and so have four `uneven` ones (Huang et al., The Visual Computer 36, 2020)",
            unmarked_are_free=True,
            headline=("auroc", "pixel_f1"),
        ),
        Protocol(
            name="bsdata",
            says="COCO mAP at IoU 0.5; AUPRO to 0.3 of false pixels and the share of peaks inside a mask, "
            "because the sharpness of a picture alone separates good from bad in this set",
            average="coco",
            headline=("map_protocol", "aupro"),
        ),
        Protocol(
            name="screw",
            says="AUROC of good against anomalous pictures beside the best trivial statistic "
            "(Bergmann et al., MVTec AD, CVPR 2019)",
            headline=("auroc", "trivial_auroc"),
        ),
    )
}


def protocol_named(name: str) -> Protocol:
    """The protocol of that name; StationFault naming those there are."""
    if name not in PROTOCOLS:
        raise StationFault(f"there is no protocol {name!r}; choose one of: {', '.join(sorted(PROTOCOLS))}")
    return PROTOCOLS[name]


def protocol_figures(
    protocol: Protocol,
    found: Sequence[Scored],
    truth: Sequence[Scored],
    classes: Sequence[str],
    *,
    map50: float | None,
    f_limit: float | None,
) -> dict[str, Any]:
    """What the protocol adds: map_protocol, ap_protocol by class, f_protocol at its recorded limit."""
    result: dict[str, Any] = {"protocol": {"name": protocol.name, "says": protocol.says}}
    if protocol.average == "coco" or not truth:
        result["map_protocol"] = map50 if protocol.average == "coco" else None
    elif protocol.average is not None:
        average = mean_average_precision if protocol.average == "icdar" else voc_average_precision
        mean, each = average(found, truth, len(classes), protocol.iou)
        result["map_protocol"] = round(mean, 5)
        result["ap_protocol"] = {
            name: None if math.isnan(ap) else round(ap, 5) for name, ap in zip(classes, each, strict=True)
        }
    if protocol.f_score:
        result["f_score_limit"] = f_limit
        if f_limit is not None and truth:
            result["f_protocol"] = round(f_score(found, truth, protocol.iou, f_limit), 5)
    return result
