"""The command line: the only package that reads command-line arguments and prints."""

import sys


def main() -> None:
    """Runs the `longtail` command."""
    try:
        from longtail.cli.app import main as run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"The command line needs {error.name}, which is not installed: pip install 'longtail[train]'.")
    run()


__all__ = ["main"]
