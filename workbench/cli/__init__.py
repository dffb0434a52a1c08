"""The command line, thin over the rooms below: `workbench --help` lists its commands."""

import workbench.cli.results
import workbench.cli.runs
import workbench.cli.sources
import workbench.cli.stores  # noqa: F401 - each registers its commands
from workbench.cli.app import app, main

__all__ = ["app", "main"]
