"""Networks that are trained together are those that are trained alone."""

import pytest
import torch
from taped import OnTheSpot

from longtail import recipes, settings
from longtail.data.loaders import Chunk, Feed
from longtail.engine.building import begin_stage, enter_stage, new_model, on_device
from longtail.engine.devices import make_compute
from longtail.engine.epochs import run_epoch
from longtail.engine.loop import Loop
from longtail.engine.replay import Replay
from longtail.engine.several_networks import parts_of, side_by_side, train_epoch
from longtail.engine.stacked import ELEMENTWISE, Stacked
from longtail.engine.training import make_ready
from longtail.errors import UserError
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment

SETTING = settings.digits_lt()
DATA = SETTING.data(None)


def member(method, seed, folder, stage_index=0):
    recipe = getattr(recipes, method)(SETTING)
    experiment, compute = Experiment(recipe, SETTING, DATA, seed), make_compute("cpu", "32-true")
    model = on_device(new_model(experiment), compute)
    for earlier in range(stage_index + 1):
        enter_stage(model, experiment, earlier)
    loop = Loop(experiment, model, Feed(DATA.train, DATA, compute.device), Run(folder), compute)
    work = begin_stage(model, experiment, stage_index, compute.device)
    make_ready(loop, work)
    return loop, work


def members(method, folder, stage_index=0):
    return [member(method, seed, folder / str(seed), stage_index) for seed in range(3)]


def alone(method, folder, epochs=2, stage_index=0):
    trained = members(method, folder, stage_index)
    losses = [[run_epoch(*each, epoch)["loss"] for epoch in range(epochs)] for each in trained]
    return trained, [each[-1] for each in losses]


def losses_of(trained):
    return [float(loop.tally.total) / int(loop.tally.step) for loop, _ in trained]


@pytest.mark.parametrize(("method", "stage"), [("gcl", 0), ("gcl", 1), ("bbn", 0), ("gala", 0)])
def test_branches_train_the_same_networks(method, stage, tmp_path):
    plain, losses = alone(method, tmp_path / "alone", stage_index=stage)
    together = members(method, tmp_path / "together", stage)
    advance, recorder = side_by_side(together), OnTheSpot()
    replay = Replay(recorder)
    for epoch in range(2):
        train_epoch(together, advance, epoch, replay)
    assert losses_of(together) == losses
    assert recorder.recorded > 0
    for (one, _), (other, _) in zip(plain, together, strict=True):
        states = one.model.state_dict(), other.model.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("method", ["ce", "gcl"])
def test_networks_that_are_computed_as_one_train_alike(method, tmp_path):
    plain, losses = alone(method, tmp_path / "alone")
    together = members(method, tmp_path / "together")
    stacked = Stacked(together)
    for epoch in range(2):
        train_epoch(together, stacked, epoch)
    stacked.give_back()
    assert losses_of(together) == pytest.approx(losses, rel=1e-3)
    for (one, _), (other, _) in zip(plain, together, strict=True):
        states = one.model.state_dict(), other.model.state_dict()
        for name in states[0]:
            assert torch.allclose(states[0][name], states[1][name], rtol=0.05, atol=0.05), name


@pytest.mark.parametrize(("method", "stage"), [("bbn", 0), ("gcl", 1)])
def test_stages_that_cannot_be_stacked_are_refused(method, stage, tmp_path):
    with pytest.raises(UserError, match="can be stacked in stages that train all parameters"):
        Stacked(members(method, tmp_path, stage))


@pytest.mark.parametrize("kind", [torch.optim.Adafactor, torch.optim.NAdam, torch.optim.ASGD])
def test_networks_whose_optimizer_does_not_treat_each_number_alone_are_not_stacked(kind, tmp_path):
    each = members("ce", tmp_path)
    for _, work in each:
        work.optimizer = kind(work.network.parameters(), lr=0.1)
    with pytest.raises(UserError, match=f"^Networks with the optimizer {kind.__name__} cannot be stacked; with SGD, Adam"):
        Stacked(each)


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_an_optimizer_that_stacks_steps_each_number_alone(kind):
    gradients = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    joint, apart = torch.nn.Parameter(torch.ones(2, 4, 5)), [torch.nn.Parameter(torch.ones(4, 5)) for _ in range(2)]
    optimizers = [kind([joint], lr=0.1), *(kind([each], lr=0.1) for each in apart)]
    for step in range(3):
        joint.grad = gradients[:, step].clone()
        for each, own in zip(apart, gradients[:, step], strict=True):
            each.grad = own.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert torch.allclose(joint, torch.stack(apart), rtol=1e-6)


def test_a_network_with_a_companion_batch_has_twice_the_images_of_the_others(tmp_path):
    mixed = [member(method, 0, tmp_path / method) for method in ("ce", "bbn", "ce")]
    parts = parts_of(Chunk(torch.arange(12), 9), mixed)
    assert [(part.indices.tolist(), part.size) for part in parts] == [([0, 1, 2], 3), ([3, 4, 5, 6, 7, 8], 3), ([9, 10, 11], 3)]
