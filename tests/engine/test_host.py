"""No recipe's forward pass or loss reads back from a GPU or copies to it: tested on tensors with a device but no values.

The backward pass needs a real GPU: tests/engine/test_replay.py. FakeTensorMode itself refuses what depends on values.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from longtail import recipes, settings
from longtail.data import transforms
from longtail.data.loaders import Batch
from longtail.engine.building import enter_stage, fast_network, new_loss, new_model, parameter_groups
from longtail.engine.replay import Tally
from longtail.spec.experiment import Experiment
from longtail.steps import classify
from longtail.weighting import Progress

SETTING = settings.digits_lt()
DATA = SETTING.data(None)
STAGES = [(build, index) for build in recipes.ALL for index in range(len(build(SETTING).stages))]
AUGMENTATIONS = ["random_crop", "random_flip", "cutout", "random_resized_crop", "color_jitter", "random_grayscale"]
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


def test_the_tally_stays_on_the_device():
    with without_values():
        tally, value = Tally(torch.device("cuda")), torch.zeros((), device="cuda")
        with OnOneDevice():
            tally.add(value)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_stays_on_the_device(name):
    with without_values():
        pixels = images().to(torch.uint8)
        with OnOneDevice():
            changed = getattr(transforms, name)(pixels, None)
    assert (changed.device.type, changed.shape) == ("cuda", pixels.shape)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda entropy, labels: entropy * float(entropy), DataDependentOutputException),
        (lambda entropy, labels: entropy * torch.tensor([2.0], device="cuda").sum(), TwoDevicesError),
        (lambda entropy, labels: entropy * labels[torch.arange(2)].sum(), TwoDevicesError),
        (lambda entropy, labels: entropy * labels[labels > 0].sum(), DynamicOutputShapeException),
    ],
    ids=["read back", "copied there", "indexed from the CPU", "of a size that depends on values"],
)
def test_a_step_that_needs_the_host_is_seen(wrong, error):
    stage, network, _ = of_stage(recipes.ce, 0)

    class Wrong(torch.nn.Module):
        def forward(self, logits, labels):
            return wrong(torch.nn.functional.cross_entropy(logits, labels), labels)

    with without_values():
        network, batch = network.to("cuda"), a_batch(stage)
        with OnOneDevice(), pytest.raises(error):
            classify(network, Wrong(), batch, Progress(1, 4, 2, 9))
