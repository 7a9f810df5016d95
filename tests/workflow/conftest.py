"""Images of four classes with a tail, and how they are prepared for training, for the tests of comparisons."""

import pytest

from commands import paint
from longtail.workflow.one_run import prepared
from longtail.workflow.request import Request
from longtail.workflow.watcher import Silent

TAILED = {"apple": 30, "berry": 10, "citron": 4, "date": 2}
SHORT = {"epochs": 1, "size": 16, "backbone": "resnet8", "device": "cpu", "precision": "32-true"}


@pytest.fixture(scope="session")
def tailed(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", TAILED, size=16)


@pytest.fixture(scope="session")
def data(tailed, tmp_path_factory):
    return prepared(Request(tailed, runs=tmp_path_factory.mktemp("parts"), **SHORT), Silent())[1]
