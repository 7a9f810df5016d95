"""A step that is recorded and played back trains the same network as one that Python runs each time."""

from functools import partial

import pytest
import torch
from taped import SETTING, WHOLE, Tape, same, trained
from torch.optim import SGD, AdamW

from longtail import recipes, schedules
from longtail.data import autoaugment
from longtail.engine import building
from longtail.engine.cuda_graphs import CudaGraphs, replay_for
from longtail.engine.replay import NotRecorded, Replay
from longtail.steps import classify, remember

METHODS = ["gcl", "gala", "bbn", "hybrid_sc", "tde", "oltr", "balpoe"]


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """AutoAugment chooses images on the CPU by their values, which decides what runs; on a GPU it computes all of them."""
    monkeypatch.setattr(autoaugment, "_where_needed", autoaugment._everywhere)


@pytest.mark.slow
@pytest.mark.parametrize("build", recipes.ALL, ids=lambda build: build.__name__)
def test_every_method_can_be_recorded_and_trains_the_same_network(build, tmp_path):
    tape, stages = Tape(), len(build(SETTING).stages)
    plain, losses = trained(build, tmp_path / "plain")
    played, played_losses = trained(build, tmp_path / "played", replay=Replay(tape))
    assert same(plain, played)
    assert losses == played_losses
    epochs = len(losses) if build.__name__ in ("bbn", "hybrid_sc", "hybrid_psc") else stages  # their curricula read the epoch
    assert tape.recorded == epochs
    assert tape.played > tape.plain > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [(None, schedules.half_cosine), (partial(AdamW, lr=0.003), schedules.half_cosine), (None, schedules.cosine)],
)
def test_one_recording_follows_a_learning_rate_that_changes(optimizer, schedule, tmp_path):
    changed = {"schedule": schedule, "average": 0.2} | ({} if optimizer is None else {"optimizer": optimizer})
    tape = Tape()
    plain, losses = trained(recipes.ce, tmp_path / "plain", **changed)
    played, played_losses = trained(recipes.ce, tmp_path / "played", replay=Replay(tape), **changed)
    assert same(plain, played)
    assert losses == played_losses
    assert losses[0][1] != losses[1][1]
    assert tape.recorded == 1


@pytest.mark.slow
def test_a_recording_that_is_kept_trains_as_one_that_is_made_anew(tmp_path, monkeypatch):
    kept, anew = Tape(), Tape()
    steps = {"epochs": 4, "schedule": schedules.cosine}
    one = trained(recipes.gala, tmp_path / "kept", replay=Replay(kept), **steps)
    monkeypatch.setattr(building, "takes_device_rates", lambda optimizer: False)
    other = trained(recipes.gala, tmp_path / "anew", replay=Replay(anew), **steps)
    assert same(one[0], other[0])
    assert one[1] == other[1]
    assert (kept.recorded, anew.recorded) == (1, 4)


@pytest.mark.slow
def test_a_momentum_that_the_epoch_decides_is_recorded_anew_with_it(tmp_path):
    tape, step = Tape(), partial(remember, momentum=schedules.cosine, base=0.01)
    plain, losses = trained(recipes.tde, tmp_path / "plain", step=step, epochs=3)
    played, played_losses = trained(recipes.tde, tmp_path / "played", replay=Replay(tape), step=step, epochs=3)
    assert same(plain, played)
    assert losses == played_losses
    assert tape.recorded == 3
    assert not same(plain, trained(recipes.tde, tmp_path / "constant", epochs=3)[0])


class OwnSGD(SGD):
    """Stands for an optimizer of a user's own, which is given its learning rate as a number."""


@pytest.mark.slow
def test_an_optimizer_that_reads_its_learning_rate_in_python_is_recorded_anew_where_that_changes(tmp_path):
    tape, said, changed = Tape(), [], {"optimizer": partial(OwnSGD, lr=0.1)}
    plain, losses = trained(recipes.ce, tmp_path / "plain", schedule=schedules.cosine, epochs=3, **changed)
    played, played_losses = trained(
        recipes.ce, tmp_path / "played", replay=Replay(tape), schedule=schedules.cosine, epochs=3, **changed
    )
    assert same(plain, played)
    assert losses == played_losses
    assert tape.recorded == 3
    trained(recipes.ce, tmp_path / "each", replay=Replay(tape, said.append), schedule=schedules.half_cosine, **changed)
    assert "reads progress.step" in said[0]


class Counting(SGD):
    """An optimizer that counts its steps in Python, as many of timm's do, and slows down with them."""

    def step(self, closure=None):
        group = self.param_groups[0]
        group["done"] = group.get("done", 0) + 1
        rate, group["lr"] = group["lr"], group["lr"] / group["done"]
        super().step(closure)
        group["lr"] = rate


@pytest.mark.slow
def test_an_optimizer_that_counts_its_steps_in_python_is_not_recorded(tmp_path):
    said, tape, changed = [], Tape(), {"optimizer": partial(Counting, lr=0.1)}
    plain, losses = trained(recipes.ce, tmp_path / "plain", **changed)
    played, played_losses = trained(recipes.ce, tmp_path / "played", replay=Replay(tape, said.append), **changed)
    assert (same(plain, played), losses == played_losses, tape.recorded) == (True, True, 0)
    assert "it changes Counting.param_groups.0.done in Python" in said[0]


class Failing(Tape):
    """Fails to record once the step has run: gradients are left behind that nothing computed."""

    replay = None

    def record(self, advance, generator):
        super().record(advance, generator)
        for part in self.replay.parts[:2]:
            for parameter in part.parameters():
                parameter.grad = torch.ones_like(parameter)
        raise NotRecorded("operation not permitted when stream is capturing")


@pytest.mark.slow
def test_a_stage_that_cannot_be_recorded_is_named_once_and_trained_as_it_would_have_been(tmp_path):
    said, recorder = [], Failing()
    recorder.replay = Replay(recorder, said.append)
    plain, losses = trained(recipes.gcl, tmp_path / "plain")
    played, played_losses = trained(recipes.gcl, tmp_path / "played", replay=recorder.replay)
    assert same(plain, played)
    assert losses == played_losses
    assert [sentence.partition(" (")[0].partition(" cannot")[0] for sentence in said] == [
        "The steps of stage 1",
        "The steps of stage 2",
    ]
    assert "operation not permitted when stream is capturing. They run one operation at a time" in said[0]


def counting(model, loss, batch, progress):
    loss.calls = getattr(loss, "calls", 0) + 1
    return classify(model, loss, batch, progress)


def waiting(model, loss, batch, progress):
    return classify(model, loss, batch, progress) * float(batch.labels.float().mean().isfinite())


def positioned(model, loss, batch, progress):
    return classify(model, loss, batch, progress) * (1 + progress.fraction)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "reason"), [(counting, "changes CrossEntropyLoss.calls in Python"), (positioned, "reads progress.step")]
)
def test_a_step_whose_python_code_has_to_run_each_time_is_not_recorded(step, reason, tmp_path):
    said, tape = [], Tape()
    plain, losses = trained(recipes.ce, tmp_path / "plain", step=step)
    played, played_losses = trained(recipes.ce, tmp_path / "played", replay=Replay(tape, said.append), step=step)
    assert (same(plain, played), losses == played_losses, tape.recorded) == (True, True, 0)
    assert len(said) == 1
    assert reason in said[0]
    with pytest.raises(ValueError, match=f"{reason}.*Leave out `graphs`"):
        trained(recipes.ce, tmp_path / "insisted", replay=Replay(Tape()), step=step)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", METHODS)
def test_cuda_graphs_train_the_same_network(method, tmp_path):
    build = getattr(recipes, method)
    plain, losses = trained(build, tmp_path / "plain", device="cuda", epochs=3, data=WHOLE)
    replay = replay_for(torch.device("cuda"), True)
    played, played_losses = trained(build, tmp_path / "played", device="cuda", replay=replay, epochs=3, data=WHOLE)
    assert isinstance(replay.recorder, CudaGraphs)
    assert losses == played_losses
    assert same(plain, played)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recording_that_fails_on_a_gpu_leaves_all_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("longtail.engine.replay.obstacle", lambda advance, progress, parts: advance(progress))
    plain, losses = trained(recipes.gcl, tmp_path / "plain", device="cuda", step=waiting)
    said = []
    replay = Replay(CudaGraphs(torch.device("cuda", 0)), said.append)
    played, played_losses = trained(recipes.gcl, tmp_path / "played", device="cuda", replay=replay, step=waiting)
    assert len(said) == 2
    assert losses == played_losses
    assert same(plain, played)
