# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a teaching leaves beside its bundle, so that more good parts can be taken in without fitting again.

DIR/taught.npz: basis, bank, modes and sums of the pose, held-out scores. DIR/teach.json: the facts of the job.
DIR/backbone.onnx: the cut network. Nothing is pickled.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inspection.storage.files import write_durably
from inspection.types import StationFault
from training.anomaly.gaussian import PoseSums
from training.anomaly.modes import Modes
from training.anomaly.taught import Basis, Pose, Taught

ARRAYS, FACTS, BACKBONE = "taught.npz", "teach.json", "backbone.onnx"
_FORMAT, _READ = 2, (1, 2)  # 1: before there were modes


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What was taught, the name, part and held-out score of each good picture, and the job's facts."""

    taught: Taught
    names: list[str]
    parts: list[str]
    scores: list[float]
    facts: dict[str, Any]


def save_state(folder: Path, state: State) -> None:
    """Write the arrays, then the facts: facts without arrays never stand."""
    taught = state.taught
    arrays = {
        "mean": taught.basis.mean,
        "spread": taught.basis.spread,
        "axes": taught.basis.axes,
        "bank": taught.bank,
        "numbers": np.array([taught.bank_unit, taught.pose_unit, taught.limit], np.float64),
        "size": np.array([taught.lines, taught.columns, taught.smoothings], np.int64),
        "scores": np.array(state.scores, np.float64),
    }
    if taught.pose is not None:
        sums = taught.pose.sums
        arrays |= {"parts": np.array(sums.parts), "first": sums.first, "second": sums.second.astype(np.float32)}
        if (modes := taught.pose.modes) is not None:
            arrays |= {"centre": modes.centre, "ways": modes.ways, "reach": modes.reach}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_durably(folder / ARRAYS, buffer.getvalue())
    content = {"format": _FORMAT, "names": state.names, "parts": state.parts, **state.facts}
    write_durably(folder / FACTS, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def load_state(folder: Path) -> State:
    """Read what `save_state` wrote. StationFault when it is not whole."""
    try:
        facts = json.loads((folder / FACTS).read_text())
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            return _read(facts, arrays)
    except FileNotFoundError as e:
        raise StationFault(
            f"{folder} holds no finished teaching ({Path(str(e.filename)).name} is missing): give the folder"
            " that `gatesight teach --out` wrote."
        ) from None
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile) as e:
        raise StationFault(f"{folder / ARRAYS} or {FACTS} is damaged ({e}): teach again.") from None


def _read(facts: dict[str, Any], arrays: Any) -> State:
    if facts.pop("format") not in _READ:
        raise ValueError("written by another version")
    pose = None
    if "first" in arrays:
        sums = PoseSums(
            parts=float(arrays["parts"]),
            first=arrays["first"].astype(np.float64),
            second=arrays["second"].astype(np.float64),
        )
        modes = None
        if "ways" in arrays:
            modes = Modes(centre=arrays["centre"], ways=arrays["ways"], reach=arrays["reach"])
        pose = Pose.of(sums, modes)
    bank_unit, pose_unit, limit = (float(v) for v in arrays["numbers"])
    lines, columns, smoothings = (int(v) for v in arrays["size"])
    names = [str(name) for name in facts.pop("names")]
    scores = [float(v) for v in arrays["scores"]]
    # before near-twins counted each was a part of its own; a name comes again where one was forgiven under it
    alone = [f"{name} #{index}" for index, name in enumerate(names)]
    parts = [str(part) for part in facts.pop("parts", alone)]
    if not len(names) == len(parts) == len(scores):
        raise ValueError("names, parts and scores differ in number")
    return State(
        taught=Taught(
            basis=Basis(mean=arrays["mean"], spread=arrays["spread"], axes=arrays["axes"]),
            bank=arrays["bank"],
            pose=pose,
            bank_unit=bank_unit,
            pose_unit=pose_unit,
            limit=limit,
            lines=lines,
            columns=columns,
            smoothings=smoothings,
        ),
        names=names,
        parts=parts,
        scores=scores,
        facts=facts,
    )
