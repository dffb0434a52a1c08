"""The application all commands belong to, and what they share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from workbench.errors import InputError

app = typer.Typer(
    help="Evaluate language models from their full answer distributions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Outputs = Annotated[
    str | None,
    typer.Option("--outputs", help="Folder of all results, or an fsspec URL.", show_default="outputs"),
]


def main() -> None:
    """Runs the command line; a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"workbench: {error}", file=sys.stderr)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        from workbench import __version__

        print(f"workbench {__version__}")
        raise typer.Exit


def outputs_of(outputs: str | None) -> Path | str:
    """Where results go: what the user named, as a URL or a folder, else `outputs` of the checkout."""
    from workbench.runs import remote
    from workbench.runs.studies import root

    if outputs is None:
        return root() / "outputs"
    return outputs if remote.is_url(outputs) else Path(outputs)


def home_of(outputs: str | None) -> Path:
    """The folder on this machine that holds these results."""
    from workbench.runs import remote

    return remote.working_copy(outputs_of(outputs))
