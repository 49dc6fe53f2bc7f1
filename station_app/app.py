# SPDX-License-Identifier: AGPL-3.0-or-later
"""The web console as a process: `python -m station_app.app --config station.toml [--port N] [--host A]`.

It reads the configuration, the status board, the records and the image store; it never touches camera, gate or
PLC, and the line does not notice whether it runs. Ends on SIGTERM or Ctrl-C with 0.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.templating import Jinja2Templates

from inspection.child import EXIT_FAULT
from inspection.config import StationConfig, load_config
from inspection.storage.images import ImageStore
from inspection.types import StationFault
from station_app import shown, words
from station_app.accounts import ADMIN, Accounts, Patience
from station_app.assets import Assets
from station_app.console import Console
from station_app.history import History
from station_app.live import Live
from station_app.routes import create_app
from station_app.store import open_store
from station_app.watch import Watch

_TEMPLATES = Path(__file__).parent / "templates"


def make_templates(assets: Assets) -> Jinja2Templates:
    """The pages' templates: escaping always on, an unknown name is an error."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(shown.FILTERS)
    environment.globals.update(
        entry=assets.entry,
        reason_label=words.reason_label,
        outcome_words=words.OUTCOMES,
        disposition_words=words.DISPOSITIONS,
    )
    return Jinja2Templates(env=environment)


def make_console(config: StationConfig, assets: Assets) -> Console:
    """Open everything the console uses. StationFault when its database cannot be used."""
    store = open_store(config.console_db)
    history = History(config.records_db, config.camera)
    return Console(
        config=config,
        store=store,
        accounts=Accounts(store),
        patience=Patience(),
        history=history,
        images=ImageStore(config.images_dir),
        live=Live(Watch(config, history)),
        templates=make_templates(assets),
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; StationFault with one sentence when the port is taken or not ours to open."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(128)
    except OSError as e:
        sock.close()
        raise StationFault(
            f"The console cannot listen on {host} port {port} ({e.strerror}): stop what uses it, or choose "
            "another with --port."
        ) from e
    return sock


def serve(app: FastAPI, sock: socket.socket) -> None:
    """Answer until SIGTERM or SIGINT."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            ws_max_size=4096,
            ws="websockets-sansio",
            lifespan="on",
        )
    )

    def stop(*_: object) -> None:
        # before uvicorn takes the signals this ends it; after its end, when it raises them again, it is no news
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run(sockets=[sock])


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit code 3 with one sentence for what a person has to put right."""
    parser = argparse.ArgumentParser(prog="gatesight console", description="The web console of one station.")
    parser.add_argument("--config", type=Path, required=True, help="the station's station.toml")
    parser.add_argument("--host", help="address to listen on (default: console.host of the file)")
    parser.add_argument("--port", type=int, help="port (default: console.port of the file)")
    parser.add_argument("--reset-password", action="store_true", help="print a new admin password and stop")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        return _run(options)
    except StationFault as e:
        print(e, file=sys.stderr)  # noqa: T201 - the one sentence
        return EXIT_FAULT
    except KeyboardInterrupt:
        return 0


def _run(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if options.reset_password:
        store = open_store(config.console_db)
        password = Accounts(store).reset_password()
        store.dispose()
        _tell(f"New password of {ADMIN}, shown this once: {password}")
        return 0
    assets = Assets()
    host = options.host or config.console.host
    port = config.console.port if options.port is None else options.port
    sock = listen(host, port)
    try:
        console = make_console(config, assets)
        app = create_app(console, assets)
        password = console.accounts.first_password()
        shown_host = f"[{host}]" if ":" in host else host
        _tell(f"Gatesight console: http://{shown_host}:{sock.getsockname()[1]}")
        if password:
            _tell(f"First start: log in as {ADMIN} with the password {password}")
            _tell("It is shown this once; `gatesight console --reset-password` makes another.")
        serve(app, sock)
    finally:
        sock.close()
    return 0


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the terminal is how a person learns the first password


if __name__ == "__main__":
    raise SystemExit(main())
