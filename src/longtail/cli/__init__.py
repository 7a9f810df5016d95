"""The command line: argv, environment and printing live here, and nowhere else."""

from longtail.cli.main import main

__all__ = ["main"]
