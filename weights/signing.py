# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keys of bundles: the station's own Ed25519 key, folders of trusted public keys, detached signatures.

A station makes its key at first start and keeps it to itself; what travels is `NAME.pub`: the raw 32 bytes
in base64 on one line (RFC 8032 keys, RFC 4648 text). No private key belongs in a repository.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from inspection.storage.files import write_durably
from inspection.types import StationFault

PRIVATE_NAME = "station.key"
PUBLIC_NAME = "station.pub"
_DOMAIN = b"gatesight bundle manifest v1\n"  # a signature over something else can never be replayed as this one
_RAW_KEY_BYTES = 32
_MAX_PUB_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """One public key that a person put into a trusted folder; `name` is its file's stem."""

    name: str
    raw: bytes
    path: Path


def fingerprint(raw_public: bytes) -> str:
    """Short name of a public key for people: first 16 hex digits of its SHA-256."""
    return hashlib.sha256(raw_public).hexdigest()[:16]


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Raw 32 bytes of the public half."""
    return key.public_key().public_bytes_raw()


def public_text(raw_public: bytes) -> str:
    """One line of a .pub file."""
    return base64.b64encode(raw_public).decode() + "\n"


def parse_public(text: bytes, source: Path) -> bytes:
    """Raw public key from a .pub file's bytes; StationFault names the file when it is not one."""
    raw = _decode_line(text)
    if raw is None or len(raw) != _RAW_KEY_BYTES:
        raise StationFault(f"{source} is not a public key: it must hold 32 bytes in base64 on one line.")
    return raw


def sign(key: Ed25519PrivateKey, manifest: bytes) -> str:
    """Detached signature of a manifest, one line of base64."""
    return base64.b64encode(key.sign(_DOMAIN + manifest)).decode() + "\n"


def signature_holds(raw_public: bytes, signature_text: bytes, manifest: bytes) -> bool:
    """Whether this key made this signature over this manifest; malformed text is a plain False."""
    signature = _decode_line(signature_text)
    if signature is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(raw_public).verify(signature, _DOMAIN + manifest)
    except (InvalidSignature, ValueError):
        return False
    return True


def trusted_keys(folders: Sequence[Path]) -> list[TrustedKey]:
    """All NAME.pub of the folders (a path may be a .pub file itself); an absent folder is an empty one."""
    found: list[TrustedKey] = []
    for folder in folders:
        files = [folder] if folder.is_file() else sorted(folder.glob("*.pub"))
        for path in files:
            try:
                text = path.read_bytes()[: _MAX_PUB_BYTES + 1]
            except OSError as e:
                raise StationFault(f"Cannot read the trusted key {path}: {e.strerror}.") from e
            found.append(TrustedKey(name=path.stem, raw=parse_public(text, path), path=path))
    return found


def station_key(key_dir: Path) -> Ed25519PrivateKey:
    """The station's signing key; made at first start (mode 0600, temp + fsync + rename), never overwritten.

    `key_dir/station.pub` beside it makes the folder usable as a trusted folder. StationFault when the key
    file is damaged or readable by others.
    """
    path = key_dir / PRIVATE_NAME
    if not path.exists():
        _create_key(key_dir, path)
    try:
        info = path.stat()
        raw = _decode_line(path.read_bytes())
    except OSError as e:
        raise StationFault(f"Cannot read the station's key {path}: {e.strerror}.") from e
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise StationFault(f"The station's key {path} is readable by others: run `chmod 600 {path}`.")
    if raw is None or len(raw) != _RAW_KEY_BYTES:
        raise StationFault(f"The station's key {path} is damaged: move it away and a new one will be made.")
    key = Ed25519PrivateKey.from_private_bytes(raw)
    pub = key_dir / PUBLIC_NAME
    if not pub.exists():
        write_durably(pub, public_text(public_bytes(key)).encode(), mode=0o644)
    return key


def _create_key(key_dir: Path, path: Path) -> None:
    key_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()) + b"\n"
    try:
        write_durably(path, text, mode=0o600, exclusive=True)
    except FileExistsError:
        return  # another process of this station made it at the same moment: theirs is the key
    except OSError as e:
        raise StationFault(
            f"Cannot write the station's key {path}: {e.strerror}; free space, or correct its rights."
        ) from e


def _decode_line(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
