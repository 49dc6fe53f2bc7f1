# SPDX-License-Identifier: AGPL-3.0-or-later
"""Model bundles: a folder with an ONNX model, its card, a manifest of hashes and its Ed25519 signature.

    model.onnx     the network                      card.json      what it is (weights/card.py)
    recipe.json    suggested limits (optional)      report.json    evaluation in full (optional)
    reference.png  golden picture that the model compares with (optional)
    manifest.json  {"manifest_version": 1, "files": {NAME: {"sha256": HEX, "size": BYTES}}}
    manifest.sig   signature over the manifest      manifest.pub   the public key that made it

The bundle's id is the SHA-256 of manifest.json's bytes. Everything is read once, hashed as read, and
those very bytes are handed to the engine: nothing can be exchanged between check and use. Nothing is
ever unpickled.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from inspection.storage.files import sync_folder, write_durably
from inspection.types import StationFault
from weights.card import Card, parse_card
from weights.onnx_check import ModelShape, check_onnx
from weights.signing import (
    fingerprint,
    parse_public,
    public_bytes,
    public_text,
    sign,
    signature_holds,
    trusted_keys,
)

MANIFEST_VERSION = 1
MODEL_NAME, CARD_NAME, RECIPE_NAME, REPORT_NAME = "model.onnx", "card.json", "recipe.json", "report.json"
REFERENCE_NAME = "reference.png"
MANIFEST_NAME, SIGNATURE_NAME, PUBLIC_NAME = "manifest.json", "manifest.sig", "manifest.pub"
_REQUIRED = frozenset({MODEL_NAME, CARD_NAME})
_PERMITTED = _REQUIRED | {RECIPE_NAME, REPORT_NAME, REFERENCE_NAME}
_SEAL = frozenset({MANIFEST_NAME, SIGNATURE_NAME, PUBLIC_NAME})
_MAX_BYTES = {MODEL_NAME: 512 << 20, REPORT_NAME: 16 << 20, REFERENCE_NAME: 32 << 20}
_MAX_TEXT_BYTES = 1 << 20
_PICKLE_SUFFIXES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".npy", ".npz")
TRUSTED_HERE = Path(__file__).parent / "trusted"
"""Folder of the public keys that came with this repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A checked bundle, wholly in memory; `sha256` names it in every verdict."""

    path: Path
    sha256: str
    card: Card
    model: bytes  # the bytes that were hashed; hand these to the engine, never the file
    shape: ModelShape
    recipe: bytes | None
    signed_by: str  # name of the trusted key
    key_fingerprint: str
    reference: bytes | None = None  # PNG


def load_bundle(path: Path, trusted: Sequence[Path]) -> Bundle:
    """Read, verify and parse a bundle; StationFault with one sentence for the first thing that is wrong.

    trusted: folders of NAME.pub (or single .pub files).
    """
    _refuse_other_things(path)
    manifest = _read(path, MANIFEST_NAME)
    files = _parse_manifest(manifest, path)
    _check_file_set(path, files)
    contents = {name: _read_checked(path, name, entry) for name, entry in files.items()}
    raw_public = parse_public(_read(path, PUBLIC_NAME), path / PUBLIC_NAME)
    if not signature_holds(raw_public, _read(path, SIGNATURE_NAME), manifest):
        raise StationFault(
            f"The signature of {path} ({SIGNATURE_NAME}, {PUBLIC_NAME}) does not match its {MANIFEST_NAME}:"
            " the bundle was changed or damaged; fetch it again."
        )
    name = next((key.name for key in trusted_keys(trusted) if key.raw == raw_public), None)
    if name is None:
        raise StationFault(
            f"{path} is signed by key {fingerprint(raw_public)}, which this station does not trust: if you"
            f" know its maker, run `gatesight bundle trust {path}` (it copies {PUBLIC_NAME} into a trusted"
            " folder)."
        )
    card = parse_card(contents[CARD_NAME], str(path / CARD_NAME))
    return Bundle(
        path=path,
        sha256=hashlib.sha256(manifest).hexdigest(),
        card=card,
        model=contents[MODEL_NAME],
        shape=check_onnx(contents[MODEL_NAME], card, str(path / MODEL_NAME)),
        recipe=contents.get(RECIPE_NAME),
        reference=contents.get(REFERENCE_NAME),
        signed_by=name,
        key_fingerprint=fingerprint(raw_public),
    )


def verify_bundle(path: Path, trusted: Sequence[Path]) -> dict[str, Any]:
    """Check all that `load_bundle` checks; returns what a person wants to see. StationFault when it fails."""
    bundle = load_bundle(path, trusted)
    return {
        "path": str(path),
        "ok": True,
        "sha256": bundle.sha256,
        "signed_by": bundle.signed_by,
        "key_fingerprint": bundle.key_fingerprint,
        "name": bundle.card.name,
        "version": bundle.card.version,
        "model_bytes": len(bundle.model),
    }


def write_bundle(
    path: Path,
    *,
    model: bytes,
    card: Card | Mapping[str, Any],
    key: Ed25519PrivateKey,
    recipe: Mapping[str, Any] | bytes | None = None,
    report: Mapping[str, Any] | None = None,
    reference: bytes | None = None,
) -> str:
    """Write and sign a new bundle folder; returns its sha256. The folder appears whole or not at all.

    StationFault when `path` exists (a bundle is never changed in place) or the model does not match the card.
    """
    if path.exists():
        raise StationFault(f"{path} already exists: a bundle is never changed in place; choose another folder.")
    if not isinstance(card, Card):
        card = parse_card(json.dumps(dict(card)).encode(), f"the card of {path}")
    check_onnx(model, card, f"the model of {path}")
    contents = {MODEL_NAME: model, CARD_NAME: _json_bytes(card.model_dump(mode="json"))}
    if recipe is not None:
        contents[RECIPE_NAME] = recipe if isinstance(recipe, bytes) else _json_bytes(recipe)
    if report is not None:
        contents[REPORT_NAME] = _json_bytes(report)
    if reference is not None:
        contents[REFERENCE_NAME] = reference
    files = {n: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for n, data in contents.items()}
    manifest = _json_bytes({"manifest_version": MANIFEST_VERSION, "files": files})
    contents[MANIFEST_NAME] = manifest
    contents[SIGNATURE_NAME] = sign(key, manifest).encode()
    contents[PUBLIC_NAME] = public_text(public_bytes(key)).encode()
    temp = path.with_name(f".{path.name}.{os.getpid()}.new")
    temp.mkdir(parents=True)
    for name, data in contents.items():
        write_durably(temp / name, data)
    temp.rename(path)
    sync_folder(path.parent)
    return hashlib.sha256(manifest).hexdigest()


def trust_bundle(path: Path, folder: Path) -> str:
    """Copy the key of a bundle into a trusted folder, named by the bundle; returns the key's fingerprint."""
    _refuse_other_things(path)
    raw = parse_public(_read(path, PUBLIC_NAME), path / PUBLIC_NAME)
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / f"{path.resolve().name}-{fingerprint(raw)}.pub", public_text(raw).encode())
    return fingerprint(raw)


def _refuse_other_things(path: Path) -> None:
    if path.is_file():
        kind = "a pickle or torch archive, which can run code" if path.suffix in _PICKLE_SUFFIXES else "a file"
        raise StationFault(
            f"{path} is {kind}: a bundle is a folder with {MANIFEST_NAME}, {MODEL_NAME} and {CARD_NAME}."
        )
    if not path.is_dir():
        raise StationFault(f"No bundle at {path}: check the path.")


def _read(folder: Path, name: str) -> bytes:
    """One regular file of bounded size, read once; links are not followed."""
    path = folder / name
    limit = _MAX_BYTES.get(name, _MAX_TEXT_BYTES)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as e:
        raise StationFault(f"{path} is missing: the bundle is not complete; fetch it again.") from e
    except OSError as e:
        raise StationFault(f"Cannot read {path}: {e.strerror}; a bundle holds plain files only.") from e
    with os.fdopen(fd, "rb") as f:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StationFault(f"{path} is not a plain file: a bundle holds plain files only.")
        data = f.read(limit + 1)
    if len(data) > limit:
        raise StationFault(f"{path} is larger than {limit} bytes: it is not a file of a bundle.")
    return data


def _parse_manifest(manifest: bytes, path: Path) -> dict[str, tuple[str, int]]:
    source = path / MANIFEST_NAME
    try:
        content = json.loads(manifest)
        version = content["manifest_version"]
        files = {str(n): (str(e["sha256"]), int(e["size"])) for n, e in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise StationFault(
            f"{source} is not a bundle's manifest: the bundle is damaged; fetch it again."
        ) from e
    if version != MANIFEST_VERSION:
        raise StationFault(
            f"{source} has version {version!r}, this station reads {MANIFEST_VERSION}: update the station."
        )
    return files


def _check_file_set(path: Path, files: Mapping[str, object]) -> None:
    listed = set(files)
    if _REQUIRED - listed:
        raise StationFault(
            f"{path / MANIFEST_NAME} does not list {min(_REQUIRED - listed)}: not a whole bundle."
        )
    if listed - _PERMITTED:
        raise StationFault(f"{path / MANIFEST_NAME} lists {min(listed - _PERMITTED)!r}, which no bundle holds.")
    extra = sorted({entry.name for entry in path.iterdir()} - listed - _SEAL)
    if extra and extra[0].endswith(_PICKLE_SUFFIXES):
        raise StationFault(f"{path / extra[0]} is a pickle or an array dump, which can run code: remove it.")
    if extra:
        raise StationFault(
            f"{path / extra[0]} is not in the manifest: a bundle holds exactly what was signed; remove it."
        )


def _read_checked(folder: Path, name: str, entry: tuple[str, int]) -> bytes:
    sha256, size = entry
    data = _read(folder, name)
    if len(data) != size:
        raise StationFault(
            f"{folder / name} has {len(data)} bytes, the manifest says {size}: fetch the bundle again."
        )
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StationFault(
            f"{folder / name} was changed or damaged (its hash differs): fetch the bundle again."
        )
    return data


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: show, verify or trust one bundle. Exit codes: 0 good, 3 refused."""
    parser = argparse.ArgumentParser(prog="python -m weights.bundle", description="Look at a model bundle.")
    parser.add_argument("action", choices=["show", "verify", "trust"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--trusted",
        type=Path,
        action="append",
        help=f"folder of NAME.pub, may be repeated (default {TRUSTED_HERE})",
    )
    args = parser.parse_args(argv)
    trusted: list[Path] = args.trusted or [TRUSTED_HERE]
    try:
        if args.action == "trust":
            result: dict[str, Any] = {
                "trusted": trust_bundle(args.path, trusted[0]),
                "folder": str(trusted[0]),
            }
        else:
            result = verify_bundle(args.path, trusted)
            if args.action == "show":
                bundle = load_bundle(args.path, trusted)
                result |= {"card": bundle.card.model_dump(mode="json"), "opset": bundle.shape.opset}
    except StationFault as e:
        if args.json:
            _say({"path": str(args.path), "ok": False, "error": str(e)}, None)
        sys.stderr.write(f"{e}\n")
        return 3
    _say(result, None if args.json else 2)
    return 0


def _say(result: Mapping[str, Any], indent: int | None) -> None:
    sys.stdout.write(json.dumps(result, indent=indent, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
