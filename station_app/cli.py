# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line, `gatesight`: it turns options into `python -m MODULE ...` and becomes that process.

Nothing of the station is imported here, so `--help` answers at once and a broken station cannot break its
own command line. The command *becomes* the module it starts (execv): the process id stays, so every signal
reaches it exactly once, Ctrl-C included, its exit code is ours, and no parent is left that could die first.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn

import typer

INSTALL_TRAINING = "pip install -e '.[train]'"
EXIT_USAGE = 2
EXIT_CONFIGURATION = 3

app = typer.Typer(
    name="gatesight",
    help="Inline visual inspection: the gate opens only on a positive, timely PASS.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed or counts do not reconcile, 2 wrong usage, 3 refused configuration. "
    "Gatesight is a quality device, not a safety component.",
)
bundle_app = typer.Typer(help="Show and check model bundles.", no_args_is_help=True)
journal_app = typer.Typer(help="Check the verdict journal.", no_args_is_help=True)
app.add_typer(bundle_app, name="bundle")
app.add_typer(journal_app, name="journal")

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="GATESIGHT_CONFIG", help="The station's station.toml."),
]
BundleArgument = Annotated[Path, typer.Argument(help="Folder of the bundle.")]
TrustedOption = Annotated[
    list[Path] | None, typer.Option(file_okay=False, help="Folder of trusted public keys; may be repeated.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object for programs to read.")]


def _tell_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        version = importlib.metadata.version("gatesight")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
        version = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"]
    typer.echo(f"gatesight {version}")
    raise typer.Exit


@app.callback()
def gatesight(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which version this is."),
    ] = False,
) -> None:
    """Inline visual inspection: the gate opens only on a positive, timely PASS."""


def _become(module: str, arguments: list[str]) -> NoReturn:
    """Replace this process by `python -m module arguments`; never returns."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is the point


def _refuse(sentence: str, code: int = EXIT_CONFIGURATION) -> NoReturn:
    """One clear sentence, and the exit code that goes with it."""
    typer.echo(sentence, err=True)
    raise typer.Exit(code)


def _existing(config: Path) -> str:
    """Path of the station's configuration as text; refuses a file that is not there."""
    if not config.is_file():
        _refuse(f"There is no configuration file {config}: name one with --config, or try `gatesight demo`.")
    return str(config)


def _given(**options: object) -> list[str]:
    """`--name value` for each option that was given (None and False are left out, True is a bare flag)."""
    out: list[str] = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        flag = "--" + name.replace("_", "-")
        out += [flag] if value is True else [flag, str(value)]
    return out


def _each(flag: str, values: list[Path] | None) -> list[str]:
    """`flag value` once for each value."""
    return [word for value in values or [] for word in (flag, str(value))]


@app.command(short_help="Run the whole station on the simulated line.")
def demo(  # noqa: PLR0917 - one parameter an option of the issue
    parts: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after this many parts; without it, run on."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.05, max=200.0, help="Parts per second on the belt.")
    ] = None,
    cameras: Annotated[int | None, typer.Option(min=1, max=8, help="Views of each part.")] = None,
    source: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="COCO file: real photographs instead of drawn parts."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Model bundle; default: the one shipped."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same parts.")] = None,
    drop_frames: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, metavar="P", help="Share of frames lost (0.01 = 1 %)."),
    ] = None,
    skip_triggers: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, metavar="P", help="Share of triggers skipped (0.01 = 1 %)."),
    ] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Without the web console.")] = False,
    json: Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write the report here.")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Keep all data here; default: a temporary folder."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the web console (8000).")] = None,
    trusted: TrustedOption = None,
    modbus_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the Modbus server; default: any.")
    ] = None,
) -> None:
    """Run the whole station on the simulated line: drawn parts, simulated cameras, a soft PLC, a real gate."""
    _become(
        "inspection.twin.demo",
        _given(
            parts=parts,
            rate=rate,
            cameras=cameras,
            source=source,
            bundle=bundle,
            seed=seed,
            drop_frames=drop_frames,
            skip_triggers=skip_triggers,
            headless=headless,
            json=json,
            data_dir=data_dir,
            port=port,
            modbus_port=modbus_port,
        )
        + _each("--trusted", trusted),
    )


@app.command()
def run(config: ConfigOption = Path("station.toml")) -> None:
    """Run the real station, headless, until SIGTERM or Ctrl-C."""
    _become("inspection.station", ["--config", _existing(config)])


@app.command(short_help="Run the web console alone.")
def console(
    config: ConfigOption = Path("station.toml"),
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; default: the file's.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: the file's.")] = None,
    reset_password: Annotated[
        bool, typer.Option("--reset-password", help="Make a new admin password, print it once, and stop.")
    ] = False,
) -> None:
    """Run the web console alone; it shows the station, and never touches camera, gate or PLC."""
    _become(
        "station_app.app",
        ["--config", _existing(config), *_given(port=port, host=host, reset_password=reset_password)],
    )


@app.command(short_help="What this machine has and lacks, with remedies.")
def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A station.toml to examine too.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Say what this machine has and lacks for the station, each with its remedy."""
    _become("inspection.doctor", _given(config=config, json=json))


class HandedOn(NamedTuple):
    """A command whose options, `--help` included, are its module's own."""

    module: str
    help: str
    first: tuple[str, ...] = ()  # words before those of the person
    trains: bool = False  # needs the training extras


HANDED_ON = {
    "train": HandedOn("training.train", "Train a model bundle.", trains=True),
    "teach": HandedOn("training.teach", "Teach from good parts alone."),
    "template": HandedOn("training.template", "Make a golden-template bundle."),
    "evaluate": HandedOn("training.evaluate", "Measure a bundle on parts it never saw."),
    "data": HandedOn("datasets.cli", "Labelled pictures: import, check, snapshot, review."),
    "models": HandedOn("weights.models", "The station's registry of bundles: list, add."),
    "shadow": HandedOn("weights.models", "Let a bundle judge beside the active one.", ("shadow",)),
    "promote": HandedOn("weights.models", "Make a bundle the active one, if the rule allows.", ("promote",)),
    "watch": HandedOn("inspection.watching", "Test the active bundle against people's reviews."),
    "rollback": HandedOn("weights.models", "Back to the bundle before.", ("rollback",)),
}
"""In the order of `gatesight --help`."""
_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _hand_on(name: str, command: HandedOn) -> None:
    """Add one command that becomes its module with every word that follows."""

    @app.command(name, short_help=command.help, context_settings=_PASS_THROUGH, add_help_option=False)
    def become(context: typer.Context) -> None:
        if command.trains:
            _needs_training(name)
        _become(command.module, [*command.first, *context.args])


for _name, _command in HANDED_ON.items():
    _hand_on(_name, _command)


@bundle_app.command("show", short_help="Print the card of a bundle.")
def bundle_show(path: BundleArgument, json: JsonFlag = False) -> None:
    """Print the card of a bundle: what it was trained on, how it did, its licence, its hash."""
    _become("weights.bundle", ["show", str(path), *_given(json=json)])


@bundle_app.command("verify", short_help="Check every hash and the signature.")
def bundle_verify(
    path: BundleArgument,
    trusted: TrustedOption = None,
    json: JsonFlag = False,
) -> None:
    """Check every hash and the signature; non-zero when a byte differs or the signer is unknown."""
    _become("weights.bundle", ["verify", str(path), *_each("--trusted", trusted), *_given(json=json)])


@bundle_app.command("trust", short_help="Trust the signer of a bundle from now on.")
def bundle_trust(path: BundleArgument, trusted: TrustedOption = None, json: JsonFlag = False) -> None:
    """Copy the signer's public key into the folder of trusted keys; look at `bundle show` first."""
    _become("weights.bundle", ["trust", str(path), *_each("--trusted", trusted), *_given(json=json)])


@journal_app.command("verify", short_help="Check every record and the hash chain.")
def journal_verify(
    path: Annotated[Path, typer.Argument(help="Journal folder, DATA_DIR/journal.")], json: JsonFlag = False
) -> None:
    """Check lengths, checksums and the hash chain of every record."""
    _become("inspection.journal", ["verify", str(path), *_given(json=json)])


def _needs_training(command: str) -> None:
    """Refuse in one sentence when the training extras are not installed (looked up, not imported)."""
    missing = [name for name in ("torch", "ultralytics") if importlib.util.find_spec(name) is None]
    if missing:
        _refuse(
            f"`gatesight {command}` needs {' and '.join(missing)}, which the station itself runs without: "
            f"install the training extras with `{INSTALL_TRAINING}` in the checkout."
        )


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
