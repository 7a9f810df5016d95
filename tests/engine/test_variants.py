"""Every faster way to compute a step trains the network that plain steps train."""

import os
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from longtail import recipes, settings
from longtail.engine import variants
from longtail.engine.building import enter_stage, new_model
from longtail.engine.compute import Compute
from longtail.engine.devices import make_compute
from longtail.engine.replay import Replay
from longtail.engine.training import train_stages
from longtail.engine.variants import FastStep, variants_of
from longtail.errors import UserError
from longtail.heads import LinearHead
from longtail.networks.backbones import CifarResNet
from longtail.networks.classifier import Classifier
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.workflow.one_run import job_of
from longtail.workflow.request import Request
from longtail.workflow.resolve import check
from longtail.workflow.watcher import Silent

BF16 = {"device_type": "cpu", "dtype": torch.bfloat16}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torch.compiler.reset()


def small_classifier(wrap=lambda backbone: backbone):
    torch.manual_seed(0)
    backbone = wrap(CifarResNet(depth=8, width=4))
    return Classifier(backbone, LinearHead(backbone.num_features, 5)).to(memory_format=torch.channels_last)


def losses_of(steps, names=(), *, autocast=False, batch=8):
    """Losses of so many steps on the same random batches, and the network's state after them."""
    model, images, labels = small_classifier(), *batches(steps, batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    faster, losses = FastStep(model, names, batch_size=batch), []
    for step in range(steps):
        with torch.autocast(**BF16, enabled=autocast), faster(batch):
            value = nn.functional.cross_entropy(model(images[step]), labels[step])
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
    return losses, model.state_dict()


def batches(steps, batch):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn((steps, batch, 3, 8, 8), generator=generator)
    return images, torch.randint(5, (steps, batch), generator=generator)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("names", [("cast",), ("counters",), ("cast", "counters")], ids=",".join)
@pytest.mark.parametrize("autocast", [False, True])
def test_weights_are_equal_to_the_bit(names, autocast):
    plain, state = losses_of(4, autocast=autocast)
    fast, fast_state = losses_of(4, names, autocast=autocast)
    assert plain == fast
    assert equal(state, fast_state)


def test_a_compiled_network_has_the_losses_of_the_plain_one(monkeypatch):
    monkeypatch.setattr(variants, "BACKEND", "aot_eager")
    plain, _ = losses_of(50)
    fast, _ = losses_of(50, ("compile", "cast", "counters"))
    assert fast == pytest.approx(plain, rel=1e-3)
    assert plain[-1] != plain[0]


def test_what_is_compiled_is_used_for_full_batches_in_training_alone(monkeypatch):
    monkeypatch.setattr(variants, "BACKEND", "eager")
    model, called = small_classifier(), []
    faster = FastStep(model, ("compile",), batch_size=4)
    (module, name, _), *others = faster.compiled
    assert (module, name, others) == (model.backbone, "maps", [])
    faster.compiled = [(module, name, lambda images: called.append(len(images)) or torch.zeros(len(images), 16, 2, 2))]
    for size in (4, 3):
        with faster(size):
            model(torch.zeros(size, 3, 8, 8))
    model(torch.zeros(4, 3, 8, 8))
    assert called == [4]


@pytest.mark.parametrize(("method", "parts"), [("bbn", 3), ("balpoe", 4), ("oltr", 1), ("gcl", 1)])
def test_every_part_that_steps_call_is_compiled(method, parts, monkeypatch):
    monkeypatch.setattr(variants, "BACKEND", "eager")
    setting = settings.digits_lt()
    experiment = Experiment(getattr(recipes, method)(setting), setting, setting.data(None))
    model = new_model(experiment)
    for stage in range(len(experiment.recipe.stages)):
        enter_stage(model, experiment, stage)
    assert len(FastStep(model, ("compile",)).compiled) == parts


def test_counts_of_batches_are_raised_once_for_batch_norms_that_learn():
    model = small_classifier()
    model.backbone.norm.eval()
    with FastStep(model, ("counters",))(2):
        model(torch.zeros(2, 3, 8, 8))
        model(torch.zeros(2, 3, 8, 8))
    counts = {name: int(buffer) for name, buffer in model.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts.pop("backbone.norm.num_batches_tracked") == 0
    assert set(counts.values()) == {1}
    assert len(counts) == 6


def test_weights_are_in_place_again_after_an_error():
    model = small_classifier()
    own = list(model.parameters())
    with pytest.raises(ZeroDivisionError), torch.autocast(**BF16), FastStep(model, ("cast", "counters"))(2):
        raise ZeroDivisionError
    assert all(one is other for one, other in zip(own, model.parameters(), strict=True))
    assert model.backbone.norm.num_batches_tracked is not None
    assert torch.is_autocast_cache_enabled()


def test_what_cannot_be_compiled_is_one_sentence(monkeypatch):
    def failing(module, inputs):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(variants, "BACKEND", failing)
    model = small_classifier()
    faster = FastStep(model, ("compile",), batch_size=2)
    with pytest.raises(UserError, match=r"cannot be compiled here \(.*no compiler here.*leave it out"), faster(2):
        model(torch.zeros(2, 3, 8, 8))


def test_what_is_compiled_is_kept_in_the_cache_of_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    variants.keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "longtail" / "compiled")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    variants.keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"


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


class OnTheSpot:
    """Records by remembering: the step is called again."""

    recorded = 0

    def plainly(self, advance):
        advance()

    def record(self, advance, generator):
        self.recorded += 1
        return advance


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


def test_variants_by_name(monkeypatch):
    monkeypatch.setattr(variants, "BEST", {"H100": ("cast", "compile")})
    assert variants_of("none", "NVIDIA H100") == ()
    assert variants_of("counters, cast", "CPU") == ("cast", "counters")
    assert variants_of("auto", "NVIDIA H100 80GB HBM3") == ("cast", "compile")
    assert variants_of("auto", "CPU x86_64") == ()
    with pytest.raises(UserError, match=r"castt.*cast"):
        variants_of("castt", "CPU")
