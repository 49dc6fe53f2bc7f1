# SPDX-License-Identifier: AGPL-3.0-or-later
"""The built front end: which hashed files belong to an entry, from Vite's manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspection.types import StationFault

DIST = Path(__file__).parent / "static" / "dist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """URLs of one entry of the front end."""

    script: str
    styles: tuple[str, ...]
    preloads: tuple[str, ...]


class Assets:
    """Looks entries up by their source name, such as `main.ts`."""

    def __init__(self, folder: Path = DIST) -> None:
        """StationFault when the front end is not built."""
        self.folder = folder
        self._path = folder / ".vite" / "manifest.json"
        self._built_ns = 0
        self._manifest: dict[str, Any] = {}
        self._read()

    def _read(self) -> None:
        """Read the manifest, again when the front end was built anew under a running console."""
        try:
            built_ns = self._path.stat().st_mtime_ns
            if built_ns != self._built_ns:
                self._manifest = json.loads(self._path.read_text())
                self._built_ns = built_ns
        except (OSError, json.JSONDecodeError) as e:
            raise StationFault(
                "The console's front end is not built: run `npm ci && npm run build` in station_app/frontend "
                "(`make setup` does it)."
            ) from e

    def entry(self, name: str) -> Entry:
        """URLs of `src/<name>`; KeyError when there is no such entry."""
        if self._path.exists():  # absent for a moment while it is being built
            self._read()
        item = self._manifest[f"src/{name}"]
        imported = [self._manifest[key] for key in item.get("imports", ())]
        styles = [*item.get("css", ()), *(css for i in imported for css in i.get("css", ()))]
        return Entry(
            script=_url(item["file"]),
            styles=tuple(_url(s) for s in dict.fromkeys(styles)),
            preloads=tuple(_url(i["file"]) for i in imported),
        )


def _url(file: str) -> str:
    return f"/static/{file}"
