"""Runs, recorded steps and float16 with the faster ways to compute a step."""

from dataclasses import replace

import pytest
import torch
from small import batches, equal, small_classifier
from taped import OnTheSpot
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from longtail import recipes, settings
from longtail.engine import variants
from longtail.engine.compute import Compute
from longtail.engine.devices import make_compute
from longtail.engine.replay import Replay
from longtail.engine.training import train_stages
from longtail.errors import UserError
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.workflow.checks import check
from longtail.workflow.one_run import job_of
from longtail.workflow.request import Request
from longtail.workflow.watcher import Silent


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torch.compiler.reset()


class Asked(TorchDispatchMode):
    """Counts the numbers that the host reads from tensors."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.reads += func.name() == "aten::_local_scalar_dense"
        return func(*args, **(kwargs or {}))


def half_losses(steps, *, fused, precision):
    """Losses of steps at a precision, and how many numbers the host read in all steps but the first."""
    model, images, labels = small_classifier(), *batches(steps, 8)
    compute = Compute(torch.device("cpu"), precision)
    compute.scaler = torch.amp.GradScaler("cpu", init_scale=1024, enabled=precision == "16-mixed")  # no step is left out
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, fused=fused)
    losses = []
    for step in range(steps):
        with Asked() as asked:
            with compute.autocast():
                value = nn.functional.cross_entropy(model(images[step]), labels[step])
            compute.backward(value)
            compute.step(optimizer)
            optimizer.zero_grad()
        losses.append(value.detach())
    return torch.stack(losses).tolist(), asked.reads


def test_float16_needs_no_number_on_the_host_where_the_optimizer_is_fused():
    plain, _ = half_losses(50, fused=True, precision="32-true")
    half, reads = half_losses(50, fused=True, precision="16-mixed")
    assert reads == 0
    assert half == pytest.approx(plain, rel=0.03)
    assert half_losses(2, fused=False, precision="16-mixed")[1] > 0, "an optimizer that is not fused is asked for its gradients"


@pytest.mark.slow
def test_a_run_with_variants_is_the_run_without(tmp_path):
    setting = replace(settings.digits_lt(), epochs=2)
    experiment = Experiment(recipes.gcl(setting), setting, setting.data(None), precision="bf16-mixed")
    compute = make_compute("cpu", "bf16-mixed")
    plain, history = train_stages(experiment, Run(tmp_path / "plain"), compute)
    fast, entries = train_stages(experiment, Run(tmp_path / "fast"), compute, fast=("cast", "counters"))
    assert [entry["loss"] for entry in entries] == [entry["loss"] for entry in history]
    assert equal(plain.state_dict(), fast.state_dict())


@pytest.mark.slow
def test_what_is_compiled_can_be_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "BACKEND", "aot_eager")
    setting = replace(settings.digits_lt(), epochs=1)
    experiment = Experiment(recipes.ce(setting), setting, setting.data(None), precision="32-true")
    compute, recorder = make_compute("cpu", "32-true"), OnTheSpot()
    _, history = train_stages(experiment, Run(tmp_path / "plain"), compute)
    replay = Replay(recorder)
    _, entries = train_stages(experiment, Run(tmp_path / "fast"), compute, replay=replay, fast=("cast", "compile", "counters"))
    assert entries[0]["loss"] == pytest.approx(history[0]["loss"], rel=1e-3)
    assert recorder.recorded == 1, "and nothing that stands in the way was seen"


def test_a_run_records_its_variants(tmp_path):
    setting = settings.digits_lt()
    request = Request("digits_lt", "ce", fast="cast,counters", device="cpu", graphs=False)
    job = job_of(request, Experiment(recipes.ce(setting), setting, setting.data(None)), Silent())
    assert job.record["fast"] == ["cast", "counters"]
    assert job.start["fast"] == "cast,counters"
    assert "--fast cast,counters" in job.record["command"]
    with pytest.raises(UserError, match="kast"):
        check(replace(request, fast="kast"))
