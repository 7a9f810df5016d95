"""Finished runs that several files of tests read: on digits, and on photos of three colours."""

import numpy as np
import pytest
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
