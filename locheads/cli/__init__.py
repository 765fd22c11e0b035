"""The `locheads` command: run the study, sweep, ground one picture, profile a model, write data, train.

A problem that the user can fix is reported as one line on stderr with exit status 2. Heavy modules are
imported inside the subcommands, so that `--help` is fast.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib import import_module
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from locheads import __version__
from locheads.cli.data import data, manifest, profile
from locheads.cli.explore import explore
from locheads.cli.models import ground, merge_delta, train_arms, train_specimen
from locheads.cli.notebooks import results, run, sweep
from locheads.cli.submissions import compare, merge_shards, submit, verify
from locheads.errors import LocheadsError

app = typer.Typer(
    help="Localization heads: the few attention heads of a vision-language model that ground a phrase.\n\n"
    "A companion to arXiv 2503.06287. `locheads run` redoes the study in its notebooks; `locheads ground` "
    "tries the heads on a picture of yours.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"locheads {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Takes the options before the subcommand."""


train_app = typer.Typer(help="Train the models whose weights the repository ships.", no_args_is_help=True)
app.add_typer(train_app, name="train")
CHECKED = (submit, merge_shards, verify, compare)
COMMANDS = (run, sweep, ground, explore, profile, data, manifest, merge_delta, results, *CHECKED)
"""In the order of `--help`."""
for command in COMMANDS:
    app.command()(command)
train_app.command("specimen")(train_specimen)
train_app.command("arms")(train_arms)


FAULT = "This is a fault of locheads: report it with these lines, the command and `locheads --version`."


_INTERRUPTED = 128 + signal.SIGINT


class _Ended(SystemExit):
    """The command was terminated by a signal."""


def main() -> None:
    """Runs the command; reports what the user can fix in one line, with exit status 2, or 130 for Ctrl-C."""
    from locheads.files import explained

    before = signal.signal(signal.SIGTERM, _end)
    os.environ.pop("MPLBACKEND", None)  # figures go to files: no window, so no choice of the user
    try:
        _check_surroundings()
        status = app(prog_name="locheads", standalone_mode=False)
    except TyperException as error:
        if not (problem := error.format_message().rstrip(".")):  # no command is given: the help is printed
            raise SystemExit(2) from error
        call = getattr(getattr(error, "ctx", None), "command_path", "locheads")
        _fail(LocheadsError(f"{problem}; see `{call} --help`"))
    except _Ended:
        print("locheads: terminated by a signal; finished work is kept", file=sys.stderr)
        raise
    except LocheadsError as error:
        _fail(error)
    except OSError as error:
        place = error.filename2 or error.filename
        if place is None and explained(error, "") is None:
            error.add_note(FAULT)
            raise
        _fail(explained(error, place or "writing") or LocheadsError(f"{place}: {error.strerror}"))
    except Exception as error:
        error.add_note(FAULT)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if status == _INTERRUPTED:
        print("locheads: interrupted; finished work is kept", file=sys.stderr)
    raise SystemExit(status)


def _check_surroundings() -> None:
    """Refuses a working directory that was deleted, and options of tqdm in the environment that do not parse.

    Raises:
        LocheadsError: There is one.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise LocheadsError("the working directory was deleted; change to another one") from error
    try:
        import_module("tqdm")  # reads its options when it is imported
    except ValueError as error:
        names = ", ".join(sorted(name for name in os.environ if name.startswith("TQDM_")))
        raise LocheadsError(f"the environment has a wrong value among {names}: {error}") from error


def _end(number: int, _: object) -> NoReturn:
    """Ends the command as Ctrl-C does: kernels are shut down, unfinished files and locks removed."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # tasks that wait for a kernel may log its end
    raise _Ended(128 + number)


def _fail(error: LocheadsError) -> None:
    print("locheads:", " ".join(str(error).split()), file=sys.stderr)
    raise SystemExit(2)
