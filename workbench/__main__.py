"""The entry point of `workbench` and `python -m workbench`: an interruption while modules are imported is one too."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it with code 130 and without a traceback at any moment."""
    try:
        from workbench.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
