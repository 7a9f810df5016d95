"""A few small photos, and a finished run on them."""

from pathlib import Path

import pytest
from small_runs import SMALL, train

from commands import paint


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", SMALL)


@pytest.fixture(scope="module")
def finished(photos):
    """A finished run, which no mistake may touch."""
    return Path(train(photos, photos.parent / "runs").folder)
