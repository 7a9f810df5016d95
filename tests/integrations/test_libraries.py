"""An `EpochSampler` in two processes of each real library: one global list, each image once, and the same after a resume."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from longtail.sampling import EpochSampler
from longtail.weighting import power
from sampling_jobs import IMPORTS, STRIDED, joined
from sampling_libraries import BATCH, COUNTS, STOP, Images

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]
IMAGES, EPOCHS, STEPS = 99, 3, 7
HERE = [library for library, module in IMPORTS.items() if find_spec(module.split(".")[0])]


@pytest.fixture(scope="module")
def jobs():
    command = [sys.executable, "-W", "ignore", str(TESTS / "sampling_jobs.py"), *HERE]
    command += [f"--images={IMAGES}", f"--epochs={EPOCHS}", "--world=2"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=IMPORTS)
def library(request):
    if request.param not in HERE:
        pytest.skip(f"{IMPORTS[request.param]} is not installed")
    return request.param


def lists():
    """The global list of each epoch, and what follows where it begins anew."""
    sampler = EpochSampler(Images(IMAGES).labels, rule=power, seed=5, epochs=EPOCHS)
    drawn = []
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        drawn.append(sampler.draw().tolist() * 2)
    return drawn


def test_two_processes_are_shown_the_batches_of_one(jobs, library):
    shown = joined(library, jobs[library], "whole")
    assert len(shown) == EPOCHS * STEPS
    for number, (epoch, batch) in enumerate(shown):
        place = number % STEPS * BATCH
        assert epoch == number // STEPS
        assert batch == lists()[epoch][place : place + len(batch)]
        assert len(batch) == BATCH or (number % STEPS == STEPS - 1 and len(batch) == 4 and library in STRIDED)


BROKEN_OFF = [(name, "resumed") for name in IMPORTS] + [
    ("lightning", how) for how in ("resumed with workers", "after max_steps", "after max_steps with workers")
]


@pytest.mark.parametrize(("library", "run"), BROKEN_OFF, indirect=["library"])
def test_a_run_that_was_broken_off_goes_on_with_the_next_image(jobs, library, run):
    whole, resumed = (joined(library, jobs[library], of) for of in ("whole", run))
    rest = whole[STOP[0] * STEPS + STOP[1] :]
    assert len(resumed) == len(rest) == 5 + STEPS
    for number, (of, expected) in enumerate(zip(resumed, rest, strict=True)):
        new = IMAGES % BATCH if number in (4, 4 + STEPS) else BATCH  # what fills the last batch of an epoch is the library's
        assert (of[0], of[1][:new]) == (expected[0], expected[1][:new])


def trained(steps):
    """The values of the network after plain steps of gradient descent on these batches, in one process."""
    labels = Images(IMAGES).labels
    layer = torch.nn.utils.skip_init(torch.nn.Linear, 1, 5)
    values = torch.nn.utils.parameters_to_vector(layer.parameters()).detach() * 0
    for batch in steps:
        torch.nn.utils.vector_to_parameters(values, layer.parameters())
        loss = cross_entropy(layer(torch.tensor(batch)[:, None] / 100), labels[batch])
        values = values - 0.1 * torch.nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(layer.parameters())))
    return values.tolist()


@pytest.mark.parametrize(("run", "accumulated"), [("whole", 1), ("accumulated", 2)])
@pytest.mark.parametrize("library", ["transformers"], indirect=True)
def test_the_trainer_of_transformers_follows_the_gradient_of_the_mean(jobs, library, run, accumulated):
    batches = joined(library, jobs[library], run)
    steps = []
    for epoch in range(EPOCHS):
        own = [batch for of, batch in batches if of == epoch]
        steps += [list(chain(*own[first : first + accumulated])) for first in range(0, len(own), accumulated)]
    assert len(steps) == EPOCHS * STEPS
    for process in jobs[library]:
        assert process[f"{run} values"] == pytest.approx(trained(steps), abs=1e-5)


@pytest.mark.parametrize("library", ["lightning"], indirect=True)
def test_the_callbacks_refuse_what_they_cannot_count(jobs, library):
    assert jobs[library][0]["refused"] == [
        "SamplerPlace needs one training DataLoader, built with `batch_size` and `sampler`.",
        "EpochWeights needs the number of epochs: give `epochs`, or the Trainer `max_epochs`.",
    ]


@pytest.mark.parametrize("library", ["transformers"], indirect=True)
def test_the_adapter_of_transformers_refuses_what_would_go_wrong(jobs, library):
    sampler, loss = jobs[library][0]["refused"]
    assert sampler == (
        "The Trainer divides the batches among the processes itself, and the sampler is for 2 processes: build it with `world=1`."
    )
    assert loss.startswith("Network has parameters, which the Trainer would not train")


@pytest.mark.parametrize(("run", "first"), [("weights", 0), ("resumed weights", STOP[0])])
@pytest.mark.parametrize("library", ["lightning"], indirect=True)
def test_class_weights_follow_the_epoch_of_the_trainer(jobs, library, run, first):
    weights = dict(jobs[library][0][run])
    assert list(weights) == list(range(first, EPOCHS))
    for epoch, given in weights.items():
        assert [value * COUNTS[0] / given[0] for value in given] == pytest.approx(
            [COUNTS[0] ** 2 / count if epoch == 2 else COUNTS[0] for count in COUNTS]
        )
