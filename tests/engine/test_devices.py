"""What a device can do, and whose fault an error is: that of the device, or of what it was given to compute."""

import weakref
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from longtail import recipes, settings
from longtail.data.loaders import Feed
from longtail.engine.averaging import WeightAverage
from longtail.engine.building import begin_stage, new_model
from longtail.engine.checkpoints import continued
from longtail.engine.checks import check_stages
from longtail.engine.devices import has_bfloat16, make_compute
from longtail.engine.lockstep import Way
from longtail.engine.loop import Loop
from longtail.errors import UserError
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.steps import head_at_class_means

SETTING = settings.digits_lt()
DATA = SETTING.data(None)


def raising(error, images):
    raise error


def test_a_gpu_that_only_imitates_bfloat16_is_not_said_to_have_it(monkeypatch):
    for name, value in {"is_available": True, "current_device": 0, "_check_bf16_tensor_supported": True}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    for major, has_it in ((7, False), (8, True)):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, major=major: SimpleNamespace(major=major, minor=0))
        assert has_bfloat16("cuda") is has_it


def test_the_gpu_is_the_one_that_the_program_has_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert make_compute("cuda", "32-true").device == torch.device("cuda", 1)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("Tried to allocate 20.00 MiB."),
        torch.AcceleratorError("unspecified launch failure"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_an_error_of_the_device_is_not_put_down_to_the_images(error, monkeypatch):
    experiment = Experiment(recipes.ce(SETTING), SETTING, DATA)
    model = new_model(experiment)
    monkeypatch.setattr(model.backbone, "forward", partial(raising, error))
    with pytest.raises(type(error)) as caught:
        check_stages(model, experiment, make_compute("cpu", "32-true"))
    assert caught.value is error
    monkeypatch.setattr(model.backbone, "forward", partial(raising, RuntimeError("Kernel size is too large.\nMore.")))
    with pytest.raises(UserError, match=r"cannot take images of \d+ x \d+ pixels \(Kernel size is too large\.\); choose another"):
        check_stages(model, experiment, make_compute("cpu", "32-true"))


def test_weights_are_averaged_from_where_the_stage_starts(tmp_path):
    recipe = recipes.ce(SETTING)
    stage = replace(recipe.stages[0], average=0.5, start=partial(head_at_class_means, wanted=True))
    experiment = Experiment(replace(recipe, stages=(stage,)), SETTING, DATA)
    compute, model = make_compute("cpu", "32-true"), new_model(experiment)
    loop = Loop(experiment, model, Feed(DATA.train, DATA, compute.device), Run(tmp_path), compute)
    before = model.head.weight.detach().clone()
    work = begin_stage(model, experiment, 0, compute.device)
    assert continued(loop, work, []) == (0, [])
    assert isinstance(work.average, WeightAverage)
    assert not torch.equal(model.head.weight, before)
    assert torch.equal(work.average.average["head.weight"], model.head.weight)


def test_a_joint_step_that_fails_keeps_nothing_of_what_it_computed():
    held = []

    class Broken(Way):
        def _jointly(self, members, epoch):
            computed = torch.zeros(3)
            held.append(weakref.ref(computed))
            raise torch.OutOfMemoryError("Tried to allocate 20.00 MiB.")

    due = [(SimpleNamespace(), SimpleNamespace(index=0), 0)] * 2
    answers = Broken(stacked=False, note=lambda _: None).train(due)
    assert [str(each) for each in answers] == ["Tried to allocate 20.00 MiB."] * 2
    assert held[0]() is None
