# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo: the whole station on a simulated line, from one command.

    python -m inspection.twin.demo [--parts N] [--rate PARTS_PER_S] [--cameras N] [--headless] [--json FILE] ...

It makes a data folder, starts the station as any user would, the camera side and the soft PLC beside it and the
console in front, and shows live counts until Ctrl-C. With --parts it ends by itself when the last part has
passed the gate. Exit codes: 0 reconciled, 1 the counts do not reconcile, 2 wrong usage, 3 refused or failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from inspection.twin.audit import audit
from inspection.twin.children import TalkingChild
from inspection.twin.layout import LineOptions
from inspection.twin.line import SimulatedLine
from inspection.twin.report_notes import fit_notes, pace_notes
from inspection.twin.summary import LiveDisplay, summary
from inspection.types import StationFault
from weights.bundle import TRUSTED_HERE

DEFAULT_BUNDLE = TRUSTED_HERE.parent / "default"
EXIT_NOT_RECONCILED = 1
EXIT_FAILED = 3
_CONSOLE_PATIENCE_S = 30.0


def say(text: str) -> None:
    """One line for the person at the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: give 0 up to, but not, 1 (0.01 is 1 %)")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0.05 <= value <= 200:
        raise argparse.ArgumentTypeError(f"{text} parts a second: choose 0.05 to 200")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return value


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="gatesight demo", description="the station on the simulated line")
    parser.add_argument("--parts", type=_count, help="stop after this many parts; without it, run on")
    parser.add_argument("--rate", type=_positive, default=5.0, help="parts per second (5)")
    parser.add_argument("--cameras", type=_count, help="views of each part (2; with --source 1)")
    parser.add_argument("--source", type=Path, help="COCO file: real photographs instead of drawn parts")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="model bundle (the one shipped)")
    parser.add_argument("--trusted", type=Path, action="append", help="folder of trusted public keys")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same parts (1)")
    parser.add_argument("--drop-frames", type=_share, default=0.0, metavar="P", help="share of frames lost")
    parser.add_argument(
        "--skip-triggers", type=_share, default=0.0, metavar="P", help="share of triggers skipped"
    )
    parser.add_argument("--headless", action="store_true", help="without the web console")
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--data-dir", type=Path, help="keep all data here (a temporary folder)")
    parser.add_argument("--port", type=int, default=8000, help="port of the web console (8000)")
    parser.add_argument("--modbus-port", type=int, default=0, help="port of the station's Modbus server (any)")
    options = parser.parse_args(argv)
    if options.cameras is not None and options.cameras > 8:
        parser.error("--cameras: the simulated line has room for 8")
    if options.seed < 0:
        parser.error("--seed: choose 0 or more")
    return options


def line_options(arguments: argparse.Namespace) -> LineOptions:
    """What the command line asks of the line."""
    return LineOptions(
        parts=arguments.parts,
        rate_parts_per_s=arguments.rate,
        views=arguments.cameras or (2 if arguments.source is None else 1),
        seed=arguments.seed,
        coco=None if arguments.source is None else arguments.source.resolve(),
        bundle=arguments.bundle.resolve(),
        trusted=tuple(p.resolve() for p in (arguments.trusted or [TRUSTED_HERE])),
        drop_share=arguments.drop_frames,
        skip_share=arguments.skip_triggers,
        modbus_port=arguments.modbus_port,
        console_port=arguments.port,
    )


def check_console_port(port: int) -> None:
    """StationFault when the console could not listen: told before the line is built up."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as e:
            raise StationFault(
                f"The console cannot listen on 127.0.0.1 port {port} ({e.strerror}): stop what uses it, choose"
                " another with --port, or do without it with --headless."
            ) from e


def start_console(line: SimulatedLine, interrupted: Interrupted) -> TalkingChild | None:
    """The web console in front of the station; the demo goes on without it when it cannot start."""
    log = line.data_dir / "run" / "log" / "console.log"
    console = TalkingChild("console", "station_app.app", ["--config", str(line.data_dir / "station.toml")], log)
    until = time.monotonic() + _CONSOLE_PATIENCE_S
    heard: list[str] = []  # the first password goes from the pipe to the terminal, and to no file
    while time.monotonic() < until and console.running and not heard and not interrupted.asked:
        time.sleep(0.1)
        heard = console.lines()
    time.sleep(0.2)
    heard += console.lines()
    if not console.running:
        say(f"The console could not start; the line runs without it. {console.last_words()}")
        console.stop(1.0)
        return None
    for text in heard:
        say(text)
    if not any("password" in text for text in heard):
        say("Log in as before; `gatesight console --reset-password` makes a new password.")
    return console


def _look(display: LiveDisplay, console: TalkingChild | None) -> bool:
    """Show the counts; keep the console's pipe empty. Always False."""
    if console is not None:
        console.lines()
    return display.show()


class Interrupted:
    """Whether a person or the system asked for the end; set by SIGINT and SIGTERM."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def run(arguments: argparse.Namespace, data_dir: Path, interrupted: Interrupted) -> dict[str, Any] | None:
    """One run from the first file to the report; None when it was interrupted before the belt ran."""
    options = line_options(arguments)
    if not arguments.headless:
        check_console_port(arguments.port)
    console: TalkingChild | None = None
    with SimulatedLine(options, data_dir, say) as line:
        try:
            line.prepare()
            notes = _fit(line)
            for note in notes:
                say(note)
            line.launch()
            if not arguments.headless:
                console = start_console(line, interrupted)
            line.wait_armed(interrupted=lambda: interrupted.asked)
            if interrupted.asked:
                return None
            line.run_belt()
            say(f"The line runs: {options.rate_parts_per_s:g} parts a second, seed {options.seed}.")
            if arguments.parts is None:
                say("Ctrl-C ends it and prints the report.")
            with LiveDisplay(line) as display:
                line.run(float("inf"), lambda: _look(display, console) or line.finished or interrupted.asked)
            say("Stopping the line.")
            line.finish()
        finally:
            if console is not None:
                console.stop(5.0)
        report = audit(line)
        report["notes"] = notes + pace_notes(report)
        return report


def _fit(line: SimulatedLine) -> list[str]:
    """What there is to say about this bundle on these parts."""
    if line.bundle is not None and line.bundle.card.task == "anomaly":
        return []  # it was taught on good parts: whatever is wrong with these, it has no name for it
    classes = [] if line.bundle is None else line.bundle.card.classes
    return fit_notes(classes, line.photographs)


def check_report_place(path: Path) -> None:
    """StationFault when the report could not be written there: told before the run, not after an hour of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        was_there = path.exists()
        path.open("a", encoding="utf-8").close()
        if not was_there:
            path.unlink()
    except OSError as e:
        raise StationFault(f"Cannot write the report to {path} ({e.strerror}): give another --json.") from e


def main(argv: list[str] | None = None) -> int:
    """Entry point; see the module's docstring for the exit codes."""
    arguments = arguments_of(argv)
    interrupted = Interrupted()
    temporary = arguments.data_dir is None
    data_dir = Path(tempfile.mkdtemp(prefix="gatesight-demo-")) if temporary else arguments.data_dir
    try:
        if arguments.json is not None:
            check_report_place(arguments.json)
        report = run(arguments, data_dir, interrupted)
        if report is None:
            return 0
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        say(summary(report))
        return 0 if report["reconciled"] else EXIT_NOT_RECONCILED
    except (StationFault, OSError) as e:
        sys.stderr.write(f"{e}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                shutil.rmtree(data_dir)


if __name__ == "__main__":
    sys.exit(main())
