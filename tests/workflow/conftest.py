"""Images of four classes with a tail, prepared for training, for tests of comparisons; photos and haste for those of clusters."""

import pytest

from commands import paint
from longtail.workflow import cluster
from longtail.workflow.one_run import prepared
from longtail.workflow.request import Request
from longtail.workflow.schedulers import Slurm
from longtail.workflow.watcher import Silent

TAILED = {"apple": 30, "berry": 10, "citron": 4, "date": 2}
SHORT = {"epochs": 1, "size": 16, "backbone": "resnet8", "device": "cpu", "precision": "32-true"}


@pytest.fixture(scope="session")
def tailed(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", TAILED, size=16)


@pytest.fixture(scope="session")
def data(tailed, tmp_path_factory):
    return prepared(Request(tailed, runs=tmp_path_factory.mktemp("parts"), **SHORT), Silent())[1]


@pytest.fixture
def photos(tmp_path):
    return paint(tmp_path / "photos", {"apple": 24, "berry": 12, "citron": 6})


@pytest.fixture
def quick(monkeypatch):
    """Schedulers are asked often, and a job that is gone is late at once."""
    monkeypatch.setattr(Slurm, "poll", 0.1)
    monkeypatch.setattr(cluster, "LATE", 0.0)
