# SPDX-License-Identifier: AGPL-3.0-or-later
"""The registry's commands: what `gatesight models|shadow|promote|rollback` become.

    python -m weights.models list|add|shadow|promote|rollback ... [--config TOML | --registry DIR] [--json]

Exit codes: 0 done, 3 refused (one sentence on standard error, and in the JSON).
"""

from __future__ import annotations

import argparse
import getpass
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inspection.config import StationConfig, load_config
from inspection.types import StationFault
from weights.bundle import TRUSTED_HERE
from weights.evidence import examined, on_the_same_set
from weights.history import Act, Entry
from weights.promotion import Decision, Requirements, decide
from weights.registry import Registry, bundle_folder

_TRIAL_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A registry, and the station that it belongs to where there is one."""

    registry: Registry
    config: StationConfig | None = None
    config_path: Path | None = None

    @classmethod
    def of(cls, given: argparse.Namespace) -> Place:
        """From --config or --registry."""
        if given.registry is not None:
            return cls(registry=Registry(given.registry, given.trusted or [TRUSTED_HERE]))
        path: Path = given.config
        config = load_config(path)
        trusted = [*(config.station.trusted or [TRUSTED_HERE]), config.key_dir, *(given.trusted or [])]
        return cls(registry=Registry(config.registry_dir, trusted), config=config, config_path=path)


def list_models(given: argparse.Namespace) -> dict[str, Any]:
    """Every bundle, its state and its acts."""
    place = Place.of(given)
    models = [
        {
            "sha256": item.sha256,
            "state": item.state.value,
            "name": item.name,
            "version": item.version,
            "snapshot": item.snapshot,
            "evaluations": list(item.evaluations),
            "acts": [shown(entry) for entry in item.acts],
        }
        for item in place.registry.listed()
    ]
    standing = place.registry.standing
    return {"models": models, "active": standing.active, "shadow": standing.shadow}


def add(given: argparse.Namespace) -> dict[str, Any]:
    """A candidate, or one more evaluation of a bundle that is in the registry."""
    registry = Place.of(given).registry
    sha256 = registry.add(given.bundle, who=given.who, why=given.why, evaluation=given.evaluation)
    return {"bundle": sha256, "state": registry.standing.states[sha256].value}


def shadow(given: argparse.Namespace) -> dict[str, Any]:
    """Put a bundle into shadow, or end the shadow."""
    place = Place.of(given)
    if given.off:
        standing = place.registry.unshadow(who=given.who, why=given.why)
    else:
        if given.bundle is None:
            raise StationFault("Name the bundle that is to judge in shadow, or give --off to end the shadow.")
        standing = place.registry.shadow(_entered(place, given), who=given.who, why=given.why)
    return {"shadow": standing.shadow, "active": standing.active}


def promote(given: argparse.Namespace) -> dict[str, Any]:
    """Ask the rule, then act in the name of a person. StationFault with its sentences when it refuses."""
    place = Place.of(given)
    people = place.config.promotion.people if place.config else 1
    if people > 1 and given.second in {"", given.who}:
        raise StationFault(
            "This station asks for two people (promotion.people = 2): name another one than"
            f" {given.who} with --second."
        )
    sha256 = _entered(place, given)
    if place.config is not None:
        place.registry.adopt(
            place.config.station.bundle,
            who=given.who,
            why=f"configured in {place.config_path} before {given.why}",
        )
    active = place.registry.standing.active
    if active == sha256:
        raise StationFault(f"Bundle {sha256[:12]} is active already: nothing to promote.")
    decision = decision_on(place, active, sha256)
    result = {"bundle": sha256, "from": active, "reasons": [asdict(r) for r in decision.reasons]}
    if not decision.allowed:
        raise Refused(" ".join(decision.against), result | {"promoted": False})
    if given.dry_run:
        return result | {"promoted": False, "allowed": True}
    place.registry.promote(
        sha256,
        who=given.who,
        why=given.why,
        second=given.second or "",
        expected_active=active,
        facts={
            "from": active,
            "figures": dict(decision.figures),
            "reasons": [r.sentence for r in decision.reasons],
        },
    )
    return result | {"promoted": True, "who": given.who, "second": given.second, "why": given.why}


def rollback(given: argparse.Namespace) -> dict[str, Any]:
    """Back to the bundle that was active before; the station follows in seconds."""
    registry = Place.of(given).registry
    before = registry.standing.active
    standing = registry.go_back(Act.ROLLBACK, who=given.who, why=given.why)
    return {"from": before, "active": standing.active, "who": given.who, "why": given.why}


class Refused(StationFault):
    """The rule says no; `result` is what a program reads."""

    def __init__(self, sentence: str, result: Mapping[str, Any]) -> None:
        super().__init__(sentence)
        self.result = dict(result)


def decision_on(place: Place, active: str | None, candidate: str) -> Decision:
    """Gather what is known of both and ask the rule."""
    registry = place.registry
    ours = registry.evaluations(active) if active else []
    theirs, mine = on_the_same_set(ours, registry.evaluations(candidate))
    found = try_out(place, candidate)
    limit_ms = found.get("limit_ms")
    wanted = place.config.promotion if place.config else None
    requirements = Requirements(
        latency_ms=float(limit_ms) if limit_ms is not None else None,
        escape_upper=wanted.escape_upper if wanted else None,
        overkill_more=wanted.overkill_more if wanted else Requirements().overkill_more,
    )
    latency_ms = found.get("latency_ms")
    judged = examined(
        candidate,
        registry.load(candidate).card,
        mine,
        latency_ms=float(latency_ms) if latency_ms is not None else None,
        refusal=str(found.get("refusal", "")),
    )
    against = examined(active, registry.load(active).card, theirs) if active else None
    return decide(against, judged, requirements)


def try_out(place: Place, candidate: str) -> dict[str, Any]:
    """Run inspection.trial beside us: no engine is loaded into a command. {} where there is no station."""
    if place.config_path is None:
        return {}
    folder = bundle_folder(place.registry.folder, candidate)
    command = [sys.executable, "-m", "inspection.trial"]
    command += ["--config", str(place.config_path), "--bundle", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_S, check=False)
    except subprocess.TimeoutExpired:
        return {"refusal": f"it gave no answer within {_TRIAL_S:.0f} s."}
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        lines = done.stderr.strip().splitlines()
        return {
            "refusal": f"the trial ended with code {done.returncode} ({lines[-1] if lines else 'no words'})."
        }


def shown(entry: Entry) -> dict[str, Any]:
    """One act for JSON."""
    at = datetime.fromtimestamp(entry.utc_ns / 1e9, tz=UTC).isoformat(timespec="seconds")
    return {
        "number": entry.number,
        "act": entry.act.value,
        "who": entry.who,
        "second": entry.second,
        "why": entry.why,
        "utc": at,
        "facts": dict(entry.facts),
    }


def _entered(place: Place, given: argparse.Namespace) -> str:
    """The hash of the bundle that was named; a folder that is not in the registry yet is added first."""
    path = Path(given.bundle)
    if not path.is_dir():
        return place.registry.find(given.bundle)
    sha256 = place.registry.find(given.bundle)
    if sha256 not in place.registry.standing.states or getattr(given, "evaluation", None):
        place.registry.add(path, who=given.who, why=given.why, evaluation=getattr(given, "evaluation", None))
    return sha256


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gatesight models", description="The station's registry of bundles.")
    commands = parser.add_subparsers(dest="command", required=True)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--config", "-c", type=Path, default=Path("station.toml"), help="the station's station.toml"
    )
    where.add_argument("--registry", type=Path, help="a registry folder, instead of a station's")
    where.add_argument("--trusted", type=Path, action="append", help="folder of public keys, may be repeated")
    where.add_argument("--json", action="store_true", help="print one JSON object")
    person = argparse.ArgumentParser(add_help=False)
    person.add_argument("--who", required=True, help="the person who does this")
    person.add_argument("--why", required=True, help="the reason, for the history")

    commands.add_parser("list", parents=[where], help="every bundle, its state and its acts").set_defaults(
        do=list_models
    )
    entering = commands.add_parser("add", parents=[where], help="copy a bundle in as a candidate")
    entering.add_argument("bundle", type=Path, help="folder of the bundle, or of `gatesight train --out`")
    entering.add_argument("--evaluation", type=Path, help="what `gatesight evaluate --json` wrote of it")
    entering.add_argument("--who", default=getpass.getuser())
    entering.add_argument("--why", default="candidate")
    entering.set_defaults(do=add)
    beside = commands.add_parser(
        "shadow", parents=[where, person], help="judge beside the active bundle, without power"
    )
    beside.add_argument("bundle", nargs="?", help="folder, or hash in the registry")
    beside.add_argument("--off", action="store_true", help="end the shadow")
    beside.set_defaults(do=shadow)
    ahead = commands.add_parser("promote", parents=[where, person], help="make a bundle the active one")
    ahead.add_argument("bundle", help="folder, or hash in the registry")
    ahead.add_argument("--second", default="", help="the second person, where the station asks for two")
    ahead.add_argument("--evaluation", type=Path, help="what `gatesight evaluate --json` wrote of it")
    ahead.add_argument("--dry-run", action="store_true", help="only ask the rule")
    ahead.set_defaults(do=promote)
    back = commands.add_parser("rollback", parents=[where, person], help="back to the bundle before")
    back.set_defaults(do=rollback)
    return parser


def _lines(result: Mapping[str, Any]) -> str:
    """For people."""
    out: list[str] = []
    for model in result.get("models", []):
        out.append(f"{model['sha256'][:12]}  {model['state']:<9}  {model['name']} {model['version']}")
        out += [f"    {a['utc']}  {a['act']} by {a['who']}: {a['why']}" for a in model["acts"]]
    out += [("yes  " if r["allowed"] else "NO   ") + r["sentence"] for r in result.get("reasons", [])]
    out += [
        f"{key}: {value}"
        for key, value in result.items()
        if key not in {"models", "reasons"} and value not in (None, "")
    ]
    return "\n".join(out) or "The registry is empty."


def main(argv: list[str] | None = None) -> int:
    """One command; 0, or 3 with one sentence."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0].startswith("-") and words[0] not in {"-h", "--help"}):
        words.insert(0, "list")
    given = _parser().parse_args(words)
    try:
        result = given.do(given)
    except StationFault as e:
        if given.json:
            more = e.result if isinstance(e, Refused) else {}
            sys.stdout.write(json.dumps(more | {"ok": False, "error": str(e)}, ensure_ascii=False) + "\n")
        sys.stderr.write(f"{e}\n")
        return 3
    text = json.dumps(result | {"ok": True}, ensure_ascii=False) if given.json else _lines(result)
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
