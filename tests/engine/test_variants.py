"""Every faster way to compute a step trains the network that plain steps train."""

import os

import pytest
import torch
from small import batches, equal, small_classifier
from torch import nn

from longtail import recipes, settings
from longtail.engine import variants
from longtail.engine.building import enter_stage, new_model
from longtail.engine.variants import FastStep, variants_of
from longtail.errors import UserError
from longtail.spec.experiment import Experiment

BF16 = {"device_type": "cpu", "dtype": torch.bfloat16}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torch.compiler.reset()


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


def test_variants_by_name(monkeypatch):
    monkeypatch.setattr(variants, "BEST", {"H100": ("cast", "compile")})
    assert variants_of("none", "NVIDIA H100") == ()
    assert variants_of("counters, cast", "CPU") == ("cast", "counters")
    assert variants_of("auto", "NVIDIA H100 80GB HBM3") == ("cast", "compile")
    assert variants_of("auto", "CPU x86_64") == ()
    with pytest.raises(UserError, match=r"castt.*cast"):
        variants_of("castt", "CPU")
