"""No recipe's forward pass or loss reads back from a GPU or copies to it: tested on tensors with a device but no values.

The backward pass needs a real GPU: tests/engine/test_replay.py. FakeTensorMode itself refuses what depends on values.
"""

from contextlib import suppress

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from longtail import recipes, settings
from longtail.data import autoaugment, transforms
from longtail.data.loaders import Batch, Chunk, Feed
from longtail.data.symmetry import random_symmetry
from longtail.engine.batches import batch_of
from longtail.engine.building import enter_stage, fast_network, new_loss, new_model
from longtail.engine.optimizers import parameter_groups
from longtail.engine.rates import DeviceRates
from longtail.engine.recordable import HostWork
from longtail.engine.replay import Tally
from longtail.engine.variants import _cast_together, counted_together
from longtail.spec.experiment import Experiment
from longtail.steps import classify
from longtail.weighting import Progress

SETTING = settings.digits_lt()
DATA = SETTING.data(None)
STAGES = [(build, index) for build in recipes.ALL for index in range(len(build(SETTING).stages))]
NAMES = ["random_crop", "random_flip", "random_rotation", "cutout", "random_resized_crop", "color_jitter", "random_grayscale"]
AUGMENTATIONS = [*(getattr(transforms, name) for name in NAMES), random_symmetry, autoaugment.auto_augment]
CONSTANTS = (transforms._scale_and_shift, autoaugment._tables)  # copied to the device once, in a first step
IMAGES = 16


class TwoDevicesError(AssertionError):
    """Which operation met tensors of the CPU and of the GPU."""


class OnOneDevice(TorchDispatchMode):
    """Refuses an operation between CPU and GPU; a single number on the CPU goes along with a kernel."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        given = [tensor for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)]
        made = [tensor for tensor in tree_leaves(found) if isinstance(tensor, torch.Tensor)]
        copied = func.name().startswith(("aten::_to_copy", "aten::copy_"))
        devices = {tensor.device.type for tensor in (*given, *made) if tensor.ndim or copied}
        if given and len(devices) > 1:
            raise TwoDevicesError(func.name())
        return found


@pytest.fixture(autouse=True)
def replaced_parameters():
    """A module that moves gets new parameters, since those without values do not fit into the old ones."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)
    for constants in CONSTANTS:
        constants.cache_clear()


def without_values():
    return FakeTensorMode(allow_non_fake_inputs=True)


def images():
    return torch.zeros(IMAGES, 3, DATA.size, DATA.size, device="cuda")


def labels():
    return torch.zeros(IMAGES, dtype=torch.int64, device="cuda")


def a_batch(stage):
    companion = None if stage.companion is None else Batch(images(), labels())
    return Batch(images(), labels(), None, tuple(images() for _ in range(stage.views - 1)), companion)


def of_stage(build, index):
    experiment = Experiment(build(SETTING), SETTING, DATA)
    stage, model = experiment.recipe.stages[index], new_model(experiment)
    for earlier in range(index + 1):
        enter_stage(model, experiment, earlier)
    loss = new_loss(model, experiment, index)
    parameter_groups(model, loss, stage)
    return stage, fast_network(model, stage, "32-true"), loss


@pytest.mark.parametrize(("build", "index"), STAGES, ids=lambda value: getattr(value, "__name__", value))
def test_a_step_stays_on_the_device(build, index):
    stage, network, loss = of_stage(build, index)
    with without_values():
        network, loss, batch = network.to("cuda").train(), loss.to("cuda"), a_batch(stage)
        with OnOneDevice():
            value = stage.step(network, loss, batch, Progress(1, 4, 2, 9))
    assert (value.device.type, value.shape) == ("cuda", ())
    assert value.requires_grad


@pytest.mark.parametrize("raw", [False, True], ids=["in memory", "from files"])
@pytest.mark.parametrize("build", [recipes.gala, recipes.bbn, recipes.hybrid_sc], ids=lambda build: build.__name__)
def test_a_batch_is_drawn_and_augmented_on_the_device(build, raw):
    experiment = Experiment(build(SETTING), SETTING, DATA)
    stage = experiment.recipe.stages[0]
    with without_values():
        feed = Feed(DATA.train, DATA, torch.device("cuda"))
        chunk = Chunk(labels(), IMAGES if stage.companion is None else IMAGES // 2, images().to(torch.uint8) if raw else None)
        batch_of(experiment, feed, 0, chunk, None)
        with OnOneDevice():
            batch = batch_of(experiment, feed, 0, chunk, None)
    assert (batch.images.device.type, batch.labels.device.type, len(batch.views)) == ("cuda", "cuda", stage.views - 1)
    assert (batch.companion is None) == (stage.companion is None)


def test_variants_of_a_step_stay_on_the_device():
    plain = torch.nn.BatchNorm2d(3)
    with without_values():
        norm = plain.to("cuda")
        with HostWork() as work, counted_together(norm):
            normalised, cast = norm(images()), _cast_together((images(), images()), torch.bfloat16)
    assert work.found is None
    assert [(tensor.device.type, tensor.dtype) for tensor in cast] == [("cuda", torch.bfloat16)] * 2
    assert normalised.device.type == "cuda"


def test_the_tally_stays_on_the_device():
    with without_values():
        tally, value = Tally(torch.device("cuda")), torch.zeros((), device="cuda")
        with OnOneDevice():
            tally.add(value)


def test_learning_rates_are_written_on_the_device():
    with without_values():
        optimizer = torch.optim.SGD([torch.zeros(3, device="cuda")], lr=0.1)
        rates = DeviceRates(optimizer, [0.1], torch.device("cuda"))
        with OnOneDevice():
            rates.write(0.5)
    assert (rates.rates.dtype, optimizer.param_groups[0]["lr"].device.type) == (torch.float32, "cuda")


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=lambda augmentation: augmentation.__name__)
def test_augmentation_stays_on_the_device(augmentation):
    with without_values():
        pixels = images().to(torch.uint8)
        augmentation(pixels, None)
        with OnOneDevice():
            changed = augmentation(pixels, None)
    assert (changed.device.type, changed.shape) == ("cuda", pixels.shape)


WRONG = {
    "read back": (lambda entropy, labels: entropy * float(entropy), DataDependentOutputException, "aten::_local_scalar_dense"),
    "copied there": (
        lambda entropy, labels: entropy * torch.tensor([2.0], device="cuda").sum(),
        TwoDevicesError,
        "aten::_to_copy",
    ),
    "indexed from the CPU": (
        lambda entropy, labels: entropy * labels[torch.arange(2)].sum(),
        TwoDevicesError,
        "aten::index.Tensor",
    ),
    "of a size that depends on values": (
        lambda entropy, labels: entropy * labels[labels > 0].sum(),
        DynamicOutputShapeException,
        "aten::index.Tensor",
    ),
    "chosen": (
        lambda entropy, labels: entropy * labels.masked_select(labels > 0).sum(),
        DynamicOutputShapeException,
        "aten::masked_select",
    ),
}


@pytest.mark.parametrize(("wrong", "error", "name"), WRONG.values(), ids=WRONG)
def test_a_step_that_needs_the_host_is_seen_and_named_before_it_is_recorded(wrong, error, name):
    stage, network, _ = of_stage(recipes.ce, 0)

    class Wrong(torch.nn.Module):
        def forward(self, logits, labels):
            return wrong(torch.nn.functional.cross_entropy(logits, labels), labels)

    with without_values():
        network, batch = network.to("cuda"), a_batch(stage)
        with OnOneDevice(), pytest.raises(error):
            classify(network, Wrong(), batch, Progress(1, 4, 2, 9))
        work = HostWork()
        with suppress(error), work:
            classify(network, Wrong(), batch, Progress(1, 4, 2, 9))
    assert work.found == name


def test_nothing_is_said_of_a_step_that_stays_on_the_device():
    stage, network, loss = of_stage(recipes.gcl, 0)
    with without_values():
        network, loss, batch, work = network.to("cuda").train(), loss.to("cuda"), a_batch(stage), HostWork()
        with work:
            stage.step(network, loss, batch, Progress(1, 4, 2, 9))
    assert work.found is None
