"""The `locheads` command: run the study, sweep, ground one picture, profile a model, write data, train.

A problem that the user can fix is reported as one line on stderr with exit status 2. Heavy modules are
imported inside the subcommands, so that `--help` is fast.
"""

from __future__ import annotations

import sys

import typer

from locheads.cli.data import data, manifest, profile
from locheads.cli.explore import explore
from locheads.cli.models import ground, train_specimen
from locheads.cli.notebooks import results, run, sweep
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
train_app = typer.Typer(help="Train what the repository ships weights of.", no_args_is_help=True)
app.add_typer(train_app, name="train")
for command in (run, sweep, ground, explore, profile, data, manifest, results):  # in the order of `--help`
    app.command()(command)
train_app.command("specimen")(train_specimen)


def main() -> None:
    """Runs the command; reports a `LocheadsError` or a full disk as one line with exit status 2."""
    from locheads.files import explained

    try:
        app()
    except LocheadsError as error:
        _fail(error)
    except OSError as error:
        known = explained(error, error.filename or "writing")
        if known is None:
            raise
        _fail(known)


def _fail(error: LocheadsError) -> None:
    print("locheads:", " ".join(str(error).split()), file=sys.stderr)
    raise SystemExit(2)
