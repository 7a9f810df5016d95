"""A step that is recorded and played back trains the same network as one that Python runs each time."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from longtail import recipes, settings
from longtail.data.loaders import Batch
from longtail.engine.devices import make_compute
from longtail.engine.replay import PLAIN_STEPS, CudaGraphs, EpochProgress, Replay, Tally, copied, cuda_replay, refill, shapes
from longtail.engine.training import train_stages
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import with_epochs
from longtail.weighting import Progress

SETTING = replace(settings.digits_lt(), epochs=3)
METHODS = ["gcl", "gala", "bbn", "hybrid_sc", "tde", "oltr", "balpoe"]


class OnTheSpot:
    """Records by remembering: the step is called again, on the batch that was kept."""

    def __init__(self):
        self.recorded = self.played = self.plain = 0

    def plainly(self, advance):
        self.plain += 1
        advance()

    def record(self, advance, inputs):
        self.recorded += 1

        def play():
            self.played += 1
            advance()

        return play


def trained(method, folder, *, device="cpu", replay=None):
    compute = make_compute(device, "32-true", deterministic=device == "cuda")
    recipe = with_epochs(getattr(recipes, method)(SETTING), 3)
    experiment = Experiment(recipe, SETTING, SETTING.data(None), precision=compute.precision)
    model, history = train_stages(experiment, Run(folder), compute, replay=replay)
    return model.state_dict(), [entry["loss"] for entry in history]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_played_back_trains_the_same_network(method, tmp_path):
    recorder = OnTheSpot()
    plain, losses = trained(method, tmp_path / "plain")
    played, played_losses = trained(method, tmp_path / "played", replay=Replay(recorder))
    assert same(plain, played)
    assert losses == played_losses
    assert recorder.recorded == len(losses), "one recording per epoch"
    assert recorder.played > recorder.plain > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", METHODS)
def test_cuda_graphs_train_the_same_network(method, tmp_path):
    plain, losses = trained(method, tmp_path / "plain", device="cuda")
    replay = cuda_replay(torch.device("cuda"), "32-true")
    played, played_losses = trained(method, tmp_path / "played", device="cuda", replay=replay)
    assert isinstance(replay.recorder, CudaGraphs)
    assert losses == played_losses
    assert same(plain, played)


def batch_of(size, fill):
    images, labels = torch.full((size, 3, 4, 4), float(fill)), torch.full((size,), fill)
    return Batch(images, labels, None, (images + 1,), Batch(images + 2, labels + 2))


def test_every_tensor_of_a_batch_is_refilled():
    inputs, batch = copied(batch_of(4, 0)), batch_of(4, 5)
    kept = [inputs.images.data_ptr(), inputs.views[0].data_ptr(), inputs.companion.labels.data_ptr()]
    refill(inputs, batch)
    assert torch.equal(inputs.images, batch.images)
    assert torch.equal(inputs.views[0], batch.views[0])
    assert torch.equal(inputs.companion.images, batch.companion.images)
    assert torch.equal(inputs.companion.labels, batch.companion.labels)
    assert kept == [inputs.images.data_ptr(), inputs.views[0].data_ptr(), inputs.companion.labels.data_ptr()]


def test_a_batch_of_another_size_and_the_first_of_a_stage_run_plainly():
    recorder, seen = OnTheSpot(), []
    replay = Replay(recorder)
    for index, sizes in ((0, [4, 4, 4, 4, 3]), (0, [4, 3]), (1, [4, 4, 4, 4])):
        played = replay.begin(index, lambda batch, progress: seen.append((len(batch.labels), int(batch.labels[0]))))
        for number, size in enumerate(sizes):
            played(batch_of(size, number), Progress(0, 3, number, len(sizes)))
    assert (recorder.plain, recorder.recorded, recorder.played) == (3 + 1 + 1 + 3, 3, 3)
    assert seen == [(4, 0), (4, 1), (4, 2), (4, 3), (3, 4), (4, 0), (3, 1), (4, 0), (4, 1), (4, 2), (4, 3)]


@pytest.mark.parametrize("name", ["step", "steps", "fraction"])
def test_a_recorded_step_may_not_ask_where_in_the_epoch_it_stands(name):
    played = Replay(OnTheSpot()).begin(0, lambda batch, progress: getattr(progress, name))
    for step in range(PLAIN_STEPS):
        played(batch_of(4, step), Progress(1, 3, step, 9))
    with pytest.raises(ValueError, match=f"reads progress.{name}, which a recorded step cannot"):
        played(batch_of(4, 3), Progress(1, 3, 3, 9))


def test_a_recorded_step_knows_its_epoch():
    progress = EpochProgress(4, 9)
    assert (progress.epoch, progress.epochs) == (4, 9)


def test_a_companion_of_another_size_is_another_shape():
    batch = batch_of(4, 0)
    assert shapes(batch) == shapes(batch_of(4, 1))
    assert shapes(batch) != shapes(replace(batch, companion=batch_of(3, 0)))


@pytest.mark.parametrize(("losses", "total", "bad"), [([1.0, 2.0], 3.0, -1), ([1.0, float("nan"), float("inf")], None, 1)])
def test_the_tally_keeps_the_sum_and_the_first_loss_that_is_not_finite(losses, total, bad):
    tally = Tally(torch.device("cpu"))
    for value in losses:
        tally.add(torch.tensor(value))
    assert tally.bad.item() == bad
    assert total is None or tally.total.item() == total


@pytest.mark.parametrize(
    ("device", "precision", "said"), [("cpu", "bf16-mixed", "on a GPU"), ("cuda", "16-mixed", "use bf16-mixed")]
)
def test_graphs_where_they_cannot_be(device, precision, said):
    with pytest.raises(ValueError, match=said):
        cuda_replay(torch.device(device), precision)


def test_a_step_that_cannot_be_recorded_is_one_sentence(monkeypatch):
    class Refusing:
        def __init__(self, *args, **options):
            pass

        def __enter__(self):
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be ...")

        def __exit__(self, *error):
            return False

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", Refusing)
    graphs = object.__new__(CudaGraphs)
    graphs.pool = graphs.stream = None
    with pytest.raises(ValueError, match=r"cannot be recorded \(operation not permitted when stream is capturing\)"):
        graphs.record(partial(print), batch_of(2, 0))
