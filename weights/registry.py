# SPDX-License-Identifier: AGPL-3.0-or-later
"""A station's registry of bundles: verified copies by content, evaluations, and the history of who did what.

    REGISTRY/history.jsonl          every act, chained and synced (weights/history.py)
    REGISTRY/bundles/SHA256/        one bundle, copied once, never changed, verified whenever it is read
    REGISTRY/evaluations/SHA256.json  what was measured of a bundle, as it was handed in

The registry of a station lies in DATA_DIR/registry; the station itself follows its active bundle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspection.storage.files import sync_folder, write_durably
from inspection.types import StationFault
from weights.bundle import Bundle, load_bundle
from weights.history import BUNDLES, Act, BundleState, Entry, Standing, append, find, read, writing

EVALUATIONS = "evaluations"
_MAX_EVALUATION_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One bundle of the registry, for people and programs."""

    sha256: str
    state: BundleState
    name: str
    version: str
    snapshot: str
    evaluations: tuple[str, ...]  # content hashes, oldest first
    acts: tuple[Entry, ...]


def bundle_folder(registry: Path, sha256: str) -> Path:
    """Where the copy of a bundle lies."""
    return registry / BUNDLES / sha256


class Registry:
    """One registry folder. `trusted`: folders of the public keys whose bundles may enter and run."""

    def __init__(self, folder: Path, trusted: Sequence[Path]) -> None:
        self.folder = folder
        self.trusted = tuple(trusted)

    @property
    def standing(self) -> Standing:
        """What all acts so far come to."""
        return read(self.folder)

    def find(self, name: str) -> str:
        """A bundle by its hash, an unambiguous beginning of it, or the path of a folder that is in here."""
        path = Path(name)
        if path.is_dir():
            return load_bundle(_bundle_in(path), self.trusted).sha256
        return find(self.standing, name)

    def load(self, sha256: str) -> Bundle:
        """The verified copy of a bundle; StationFault when a byte of it differs or it is not the one named."""
        folder = bundle_folder(self.folder, sha256)
        bundle = load_bundle(folder, self.trusted)
        if bundle.sha256 != sha256:
            raise StationFault(
                f"{folder} holds bundle {bundle.sha256[:12]}: the copy was exchanged; restore it, or roll back."
            )
        return bundle

    # --- acts

    def add(self, path: Path, *, who: str, why: str, evaluation: Path | None = None) -> str:
        """Copy a bundle in as a candidate; its sha256. With an evaluation of a known bundle, add only that."""
        bundle = load_bundle(_bundle_in(path), self.trusted)
        facts = _facts(bundle)
        if evaluation is not None:
            facts |= self._keep_evaluation(evaluation, bundle.sha256)
        with writing(self.folder):
            self._copy(bundle)
            if bundle.sha256 in self.standing.states:
                if evaluation is None:
                    raise StationFault(
                        f"{path} is in the registry already (bundle {bundle.sha256[:12]},"
                        f" {self.standing.states[bundle.sha256].value}): nothing was added."
                    )
                append(self.folder, Act.EVALUATE, bundle.sha256, who=who, why=why, facts=facts)
            else:
                append(self.folder, Act.ADD, bundle.sha256, who=who, why=why, facts=facts)
        return bundle.sha256

    def adopt(self, path: Path, *, who: str, why: str) -> str | None:
        """Enter the bundle that the station runs without a registry, so that there is one to go back to.

        None when there is an active one already.
        """
        if self.standing.active is not None:
            return None
        bundle = load_bundle(path, self.trusted)
        with writing(self.folder):
            if self.standing.active is not None:
                return None
            self._copy(bundle)
            append(self.folder, Act.ADOPT, bundle.sha256, who=who, why=why, facts=_facts(bundle))
        return bundle.sha256

    def shadow(self, sha256: str, *, who: str, why: str) -> Standing:
        """Have a candidate judge beside the active bundle; the shadow before it becomes a candidate again."""
        self.load(sha256)
        with writing(self.folder):
            return append(self.folder, Act.SHADOW, sha256, who=who, why=why)

    def unshadow(self, *, who: str, why: str) -> Standing:
        """End the shadow, whichever it is."""
        with writing(self.folder):
            shadow = self.standing.shadow
            if shadow is None:
                raise StationFault("No bundle is in shadow: there is nothing to end.")
            return append(self.folder, Act.UNSHADOW, shadow, who=who, why=why)

    def promote(
        self,
        sha256: str,
        *,
        who: str,
        why: str,
        second: str = "",
        expected_active: str | None,
        facts: Mapping[str, Any],
    ) -> Standing:
        """Make a bundle the active one. `expected_active`: what the decision compared it with.

        The decision and the act are two steps: somebody else's promotion between them voids the decision.
        """
        self.load(sha256)
        with writing(self.folder):
            active = self.standing.active
            if active != expected_active:
                raise StationFault(
                    f"The active bundle changed meanwhile (now {(active or 'none')[:12]}): decide again."
                )
            return append(self.folder, Act.PROMOTE, sha256, who=who, why=why, second=second, facts=facts)

    def go_back(
        self, act: Act, *, who: str, why: str, bundle: str | None = None, facts: Mapping[str, Any] | None = None
    ) -> Standing:
        """Take the active bundle away and bring its predecessor back: rollback, withdrawal, refusal.

        bundle: the one that is meant; if another is active by now, nothing happens but a StationFault.
        """
        standing = self.standing
        if len(standing.actives) > 1:
            self.load(
                standing.actives[-2]
            )  # a damaged predecessor is no way back: say so before anything moves
        with writing(self.folder):
            active = bundle or self.standing.active
            if active is None:
                raise StationFault("No bundle is active in this registry: there is nothing to take back.")
            return append(self.folder, act, active, who=who, why=why, facts=facts)

    # --- looking

    def listed(self) -> list[Listed]:
        """Every bundle with its state and its acts, in the order of entering."""
        standing, out = self.standing, []
        for sha256, state in standing.states.items():
            acts = tuple(e for e in standing.entries if e.bundle == sha256)
            first = acts[0].facts
            out.append(
                Listed(
                    sha256=sha256,
                    state=state,
                    name=str(first.get("name", "")),
                    version=str(first.get("version", "")),
                    snapshot=str(first.get("snapshot", "")),
                    evaluations=tuple(str(e.facts["evaluation"]) for e in acts if "evaluation" in e.facts),
                    acts=acts,
                )
            )
        return out

    def evaluations(self, sha256: str) -> list[dict[str, Any]]:
        """What was measured of a bundle, oldest first, each verified against its hash."""
        listed = next((item for item in self.listed() if item.sha256 == sha256), None)
        return [self._evaluation(digest) for digest in (listed.evaluations if listed else ())]

    def _evaluation(self, digest: str) -> dict[str, Any]:
        path = self.folder / EVALUATIONS / f"{digest}.json"
        try:
            data = path.read_bytes()
        except OSError as e:
            raise StationFault(
                f"Cannot read the evaluation {path}: {e.strerror}; evaluate the bundle again."
            ) from e
        if hashlib.sha256(data).hexdigest() != digest:
            raise StationFault(f"{path} was changed or damaged (its hash differs): evaluate the bundle again.")
        return json.loads(data)

    def _keep_evaluation(self, path: Path, bundle: str) -> dict[str, Any]:
        """Copy an evaluation in; what the history says of it."""
        try:
            data = path.read_bytes()
            value = json.loads(data) if len(data) <= _MAX_EVALUATION_BYTES else None
        except OSError as e:
            raise StationFault(f"Cannot read the evaluation {path}: {e.strerror}.") from e
        except ValueError as e:
            raise StationFault(f"{path} is not JSON ({e}): give what `gatesight evaluate --json` wrote.") from e
        if not isinstance(value, dict) or "part" not in value:
            raise StationFault(f"{path} is no evaluation: give what `gatesight evaluate --json` wrote.")
        if value.get("bundle") != bundle:
            raise StationFault(
                f"{path} is the evaluation of bundle {str(value.get('bundle'))[:12]}, not of {bundle[:12]}:"
                " evaluate this bundle."
            )
        digest = hashlib.sha256(data).hexdigest()
        folder = self.folder / EVALUATIONS
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / f"{digest}.json", data)
        return {"evaluation": digest, "part": value["part"]}

    def _copy(self, bundle: Bundle) -> None:
        """Copy by content: appears whole or not at all; what lies there already must be the same."""
        target = bundle_folder(self.folder, bundle.sha256)
        if target.exists():
            self.load(bundle.sha256)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temp = target.with_name(f".{bundle.sha256}.{os.getpid()}.new")
        shutil.rmtree(temp, ignore_errors=True)
        temp.mkdir()
        try:
            for source in sorted(bundle.path.iterdir()):
                write_durably(temp / source.name, source.read_bytes())
            if (
                load_bundle(temp, self.trusted).sha256 != bundle.sha256
            ):  # the very copy, not what was read before
                raise StationFault(f"{bundle.path} changed while it was copied: try again.")
            temp.rename(target)
        except (OSError, StationFault):
            shutil.rmtree(temp, ignore_errors=True)
            raise
        sync_folder(target.parent)


def _bundle_in(path: Path) -> Path:
    """A bundle's folder, or the one inside the folder that `train --out` was given."""
    inner = path / "bundle"
    return inner if not (path / "manifest.json").exists() and inner.is_dir() else path


def _facts(bundle: Bundle) -> dict[str, Any]:
    card = bundle.card
    snapshot = card.data.get("snapshot", "") if isinstance(card.data, dict) else ""
    return {
        "name": card.name,
        "version": card.version,
        "snapshot": str(snapshot),
        "signed_by": bundle.signed_by,
        "source": str(bundle.path),
    }
