"""The command line run inside the test's process, and small folders of images for it."""

import io
import os
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest import mock

import numpy as np
from PIL import Image

from longtail.cli.app import main
from longtail.cli.show import console

COLOURS = {"apple": (200, 60, 50), "berry": (60, 60, 190), "citron": (210, 200, 60)}


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def sentence(self):
        """What went wrong: one line without a traceback, and exit code 2."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert "Traceback" not in self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()

    @property
    def text(self):
        """What was printed, however the lines were broken."""
        return " ".join(self.out.split())

    @property
    def folder(self):
        """The run folder that the command named."""
        assert self.code == 0, self.err
        return next(line.removeprefix("Run folder: ") for line in self.out.splitlines() if line.startswith("Run folder: "))


def longtail(*words):
    """`longtail WORDS`."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["longtail", *map(str, words)]),
        mock.patch.dict(os.environ, {"COLUMNS": "200"}),
        mock.patch.object(console, "_width", 200),
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
    return Said(code, out.getvalue(), err.getvalue())


def paint(root, counts, *, size=12, suffix="png", seed=0):
    """One folder per class; noise around the class's own colour, every image another."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        colour = COLOURS.get(name, (120, 120, 120))
        for place in range(count):
            noise = np.random.default_rng((seed, len(name), place)).normal(0, 40, (size, size, 3))
            Image.fromarray((noise + colour).clip(0, 255).astype(np.uint8)).save(root / name / f"{place:03}.{suffix}")
    return root


def truncated(path):
    """The same file, cut off in the middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path
