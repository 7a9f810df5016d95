"""Finished runs that several files of tests read: on digits, on photos of three colours, and of a former release."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_runs import PLAIN, WRAPPED
from PIL import Image

from longtail.workflow import train as workflow

OPTIONS = {"epochs": 2, "device": "cpu", "precision": "32-true"}


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """A finished run on digits, by method; first stages are shared."""
    runs = tmp_path_factory.mktemp("runs")
    return lambda method, **more: workflow.train("digits_lt", method=method, runs=runs, **OPTIONS, **more)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Three classes of eight images, told apart by their colour."""
    root = tmp_path_factory.mktemp("photos")
    for label, name in enumerate(("blue", "green", "red")):
        (root / name).mkdir()
        for i in range(8):
            pixels = np.random.default_rng((label, i)).integers(0, 100, (40, 36, 3), dtype=np.uint8)
            pixels[..., 2 - label] += 150
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def photo_run(photos, tmp_path_factory):
    """A finished run on photos, by timm's name of the network."""
    runs, options = tmp_path_factory.mktemp("runs"), {**OPTIONS, "epochs": 1, "size": 32, "symmetry": "none"}
    return lambda name, method="ce", **more: workflow.train(
        photos, method=method, runs=runs / name, backbone=name, **(options | more)
    )


@pytest.fixture(params=[PLAIN, WRAPPED], ids=["plain", "wrapped"])
def changed_run(request, tmp_path):
    """A copy of a finished run of release 0.1.0, which stored no checksums, so that only the content protects it."""
    return Path(shutil.copytree(request.param, tmp_path / "run"))


@pytest.fixture
def nothing_is_run(tmp_path, monkeypatch):
    """After each test no function was called, no module was imported and no file was made that only a file of the model names."""
    called = []
    for owner, name in ((os, "system"), (subprocess, "Popen"), (torch.hub, "load"), (torch, "load"), (socket.socket, "connect")):
        monkeypatch.setattr(owner, name, lambda *words, name=name, **more: called.append(name))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "here")
    Path("decoy.py").write_text("open('made', 'w').close()\ndef net(): return None\n")
    yield
    assert called == []
    assert "decoy" not in sys.modules
    assert [path.name for path in Path().iterdir()] == ["decoy.py"]
