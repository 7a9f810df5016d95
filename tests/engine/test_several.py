"""Two processes that train together end where one does: the same losses, weights and state, by every kind of method."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812

from longtail import recipes, settings, steps
from longtail.data.transforms import random_flip
from longtail.engine.batches import check_parts
from longtail.engine.devices import make_compute
from longtail.engine.training import train_stages
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.together import SynchronisedBatchNorm

SETTING = replace(settings.digits_lt(), augment=())
DATA = SETTING.data(Path())
METHODS = ("ce", "gcl", "gala", "tde", "bbn", "oltr", "mislas", "balpoe", "hybrid_sc", "hybrid_psc")
TOLERANCE = 1e-6  # relative, of losses and weights after an epoch of each stage in float64


def plain(step):
    """The step without mixing: what a process draws for its own images is the one thing that two do not share."""
    named = getattr(step, "func", step)
    if named is steps.mixup:
        return steps.classify
    return partial(named, alpha=0) if named is steps.mixup_experts else step


def exact(*, backbone):
    """The backbone, which takes images in float32 and computes in float64."""
    network = backbone()
    next(network.children()).register_forward_pre_hook(in_double)
    return network


def in_double(module, arguments):
    return tuple(each.double() for each in arguments)


class InterruptedRun(Exception):  # noqa: N818
    """Stands for whatever ends all processes."""


def experiment_of(method, epochs, batch_size=33):
    """Few epochs of each stage without augmentation, in batches that two processes cannot halve."""
    setting = replace(SETTING, backbone=partial(exact, backbone=SETTING.backbone))
    recipe = getattr(recipes, method)(setting)
    stages = [replace(each, epochs=epochs, augment=(), batch_size=batch_size, step=plain(each.step)) for each in recipe.stages]
    return Experiment(replace(recipe, stages=tuple(stages)), setting, DATA)


def in_float64(experiment, folder, *, watch=None, synchronised=True):
    """The model and the history of the experiment."""
    torch.set_default_dtype(torch.float64)
    try:
        compute = make_compute("cpu", "32-true", synchronised=synchronised)
        return train_stages(experiment, Run(folder), compute, watch=watch)
    finally:
        torch.set_default_dtype(torch.float32)


def trained(method, folder, *, epochs=1, stop=None):
    """The loss of each epoch, and all numbers of the model, computed in float64; nothing if it stops in an epoch."""

    def watch(stage, progress):
        if (progress.epoch, progress.step) == (stop, 1):
            raise InterruptedRun

    try:
        model, history = in_float64(experiment_of(method, epochs), folder, watch=watch)
    except InterruptedRun:
        return None
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return [entry["loss"] for entry in history], state


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_train_as_one(pair, tmp_path, method):
    losses, state = trained(method, tmp_path / "one")
    (first, own), (second, other) = pair.run(trained, method, tmp_path / "two")
    assert first == second
    assert first == pytest.approx(losses, rel=TOLERANCE)
    for name in state:
        assert (own[name] == other[name]).all(), name
        assert own[name] == pytest.approx(state[name], rel=TOLERANCE, abs=TOLERANCE), name


def drawn(folder, synchronised):
    """All numbers of a model whose images are mirrored and mixed."""
    setting = replace(SETTING, augment=(random_flip,), backbone=partial(exact, backbone=SETTING.backbone))
    recipe = recipes.mixup(setting)
    recipe = replace(recipe, stages=tuple(replace(stage, epochs=1) for stage in recipe.stages))
    model, history = in_float64(Experiment(recipe, setting, DATA), folder, synchronised=synchronised)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}, history[0]["loss"]


@pytest.mark.parametrize("synchronised", [True, False])
def test_processes_that_draw_numbers_of_their_own_agree(pair, tmp_path, synchronised):
    (own, loss), (other, again) = pair.run(drawn, tmp_path, synchronised)
    assert loss == again
    assert 1 < loss < 3
    for name in own:
        assert (own[name] == other[name]).all(), name


def stopped(*given):
    return trained(*given[:2], epochs=3, stop=given[2])


def test_a_run_of_two_processes_goes_on_in_one_and_again_in_two(pair, tmp_path):
    losses, state = trained("gala", tmp_path / "whole", epochs=3)
    assert pair.run(stopped, "gala", tmp_path / "cut", 1) == [None, None]
    assert stopped("gala", tmp_path / "cut", 2) is None
    (found, own), (_, other) = pair.run(stopped, "gala", tmp_path / "cut", None)
    assert found == pytest.approx(losses, rel=TOLERANCE)
    for name in state:
        assert (own[name] == other[name]).all(), name
        assert own[name] == pytest.approx(state[name], rel=TOLERANCE, abs=TOLERANCE), name


def test_more_processes_than_images_of_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"A batch of stage 1 has 1 image for 2 processes: .*stages.0.batch_size': 3"):
        check_parts(experiment_of("ce", 1, batch_size=1), 2)


def normalised(factors, together):
    """Batch norm in training mode of ten images, or of this process's half of them."""
    values = torch.randn(10, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    own = values[dist.get_rank() :: 2] if together else values
    given = {name: torch.tensor(factor, dtype=torch.float64) for name, factor in factors.items()}
    with SynchronisedBatchNorm() if together else nullcontext():
        return F.batch_norm(own, None, None, training=True, **given).numpy()


@pytest.mark.parametrize("factors", [{}, {"weight": [2.0, 3.0, -1.0]}, {"bias": [2.0, 3.0, -1.0]}])
def test_batch_norm_over_processes_takes_either_factor_alone(pair, factors):
    """Weight-standardised convolutions of timm's networks call it with a weight and without a bias."""
    whole, parts = normalised(factors, False), pair.run(normalised, factors, True)
    for rank in (0, 1):
        assert parts[rank] == pytest.approx(whole[rank::2], rel=1e-9)
