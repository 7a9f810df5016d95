"""Digits in memory, the CPU, and the training of a recipe on them in a folder of the test."""

from pathlib import Path

import pytest
from digits_runs import SETTING

from longtail.engine.devices import make_compute
from longtail.engine.training import train_stages
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment


@pytest.fixture(scope="session")
def data():
    return SETTING.data(Path())


@pytest.fixture(scope="session")
def compute():
    return make_compute("cpu", "32-true")


@pytest.fixture
def trained(data, compute, tmp_path):
    """Trains a recipe in a folder of this test."""

    def run(recipe, folder="run", watch=None, **changes):
        experiment = Experiment(recipe, SETTING, **({"data": data} | changes))
        return train_stages(experiment, Run(tmp_path / folder), compute, watch=watch)

    run.folder = tmp_path
    return run
