"""Commands about the answer store: `store merge`, `store export`."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli.app import app

store = typer.Typer(help="Bring answers from one machine to another.", no_args_is_help=True)
app.add_typer(store, name="store")


@store.command()
def merge(
    sources: Annotated[list[str], typer.Argument(help="Stores, folders of them, or fsspec URLs.", metavar="FROM...")],
) -> None:
    """Add the answers of other machines to this one's."""
    from workbench.extraction.store import merge_stores

    for source in sources:
        for merged in merge_stores(source):
            print(merged, flush=True)


@store.command()
def export(
    to: Annotated[str, typer.Argument(help="A folder or an fsspec URL; a folder of this machine's is made there.")],
) -> None:
    """Copy this machine's answers to where others can merge them from."""
    from workbench.extraction.store import export_stores

    for place in export_stores(to):
        print(place)
