"""Set-up of all tests: one thread, annotated shapes of the mathematics checked in every call, and a marker for slow tests."""

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from group import Group

torch.set_num_threads(1)
os.environ["LONGTAIL_REPORT"] = "0"  # tests of reports ask for them

MATHEMATICS = ("weighting", "schedules", "losses", "heads", "inference", "metrics", "sampling", "networks.classifier", "steps")
install_import_hook(
    [f"longtail.{module}" for module in MATHEMATICS],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """Two processes that run functions of tests together."""
    group = Group(2, tmp_path_factory.mktemp("pair"))
    yield group
    group.close()


TRAINING = {"cli", "engine", "recipes", "runs", "workflow"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the folders that train are slow: `pytest -m "not slow"` leaves them out. They come first, lest one end alone."""
    for item in items:
        if Path(item.path).parent.name in TRAINING and "tests" in Path(item.path).parts:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_xdist_auto_num_workers() -> int:
    """Number of processes of `pytest -n auto`: each holds torch, so four at most."""
    return min(os.cpu_count() or 1, 4)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """A file is one process's, with what its tests have in common; the files come in the order of collection."""
    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a small set's lists and images below `tmp_path`, as if that were the published one."""
    from small_lists import publisher  # imports longtail, which the hook above must see first

    return publisher(tmp_path, monkeypatch)
