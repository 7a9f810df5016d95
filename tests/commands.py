"""Runs the command line inside the test's process, and makes small folders of images for it."""

import io
import os
import signal
import sys
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from unittest import mock

import numpy as np
from PIL import Image

from longtail.cli.app import main
from longtail.cli.show import console
from longtail.runs.seals import read_json, sha256, write_json

COLOURS = {"apple": (200, 60, 50), "berry": (60, 60, 190), "citron": (210, 200, 60)}


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def sentence(self):
        """The error message: one line without a traceback, and exit code 2."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert "Traceback" not in self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()

    @property
    def text(self):
        """The printed text, however the lines were broken."""
        return " ".join(self.out.split())

    @property
    def folder(self):
        """The run folder that the command named."""
        assert self.code == 0, self.err
        return next(line.removeprefix("Run folder: ") for line in self.out.splitlines() if line.startswith("Run folder: "))


def longtail(*words, columns=200):
    """Runs `longtail WORDS` in a terminal of so many columns."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["longtail", *map(str, words)]),
        mock.patch.dict(os.environ, {"COLUMNS": str(columns)}),
        mock.patch.object(console, "_width", columns),
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
    """Makes one folder per class, of images with noise around the colour of the class, each with its own noise."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        colour = COLOURS.get(name, (120, 120, 120))
        for index in range(count):
            noise = np.random.default_rng((seed, len(name), index)).normal(0, 40, (size, size, 3))
            Image.fromarray((noise + colour).clip(0, 255).astype(np.uint8)).save(root / name / f"{index:03}.{suffix}")
    return root


def resealed(run):
    """Writes the checksums of a finished run anew, as somebody would who changed its files on purpose."""
    content = read_json(run, "checksums.json")
    files = {name: sha256((run / name).read_bytes()) for name in content["files"]}
    write_json(run, "checksums.json", {**content, "files": files})
    return run


def truncated(path):
    """Cuts a file off in the middle, and returns its path."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@contextmanager
def ended(parent):
    """Ends the group of a process and its children, if they have not ended by themselves."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
