"""A step that is recorded and played back trains the same network as one that Python runs each time."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from taped import Tape
from torch.optim import SGD, AdamW

from longtail import recipes, schedules, settings
from longtail.data import autoaugment
from longtail.data.loaders import Chunk
from longtail.engine import building
from longtail.engine.cuda_graphs import CudaGraphs, replay_for
from longtail.engine.devices import make_compute
from longtail.engine.replay import PLAIN_STEPS, NotRecorded, Replay, Tally, copied, shape_of
from longtail.engine.training import train_stages
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import with_epochs
from longtail.steps import classify, remember
from longtail.weighting import Progress

SETTING = replace(settings.digits_lt(), epochs=2, largest_batch=24)
METHODS = ["gcl", "gala", "bbn", "hybrid_sc", "tde", "oltr", "balpoe"]
WHOLE = SETTING.data(None)
ROWS = np.concatenate([np.flatnonzero(WHOLE.train.labels == label)[:24] for label in range(10)])
FEW = replace(WHOLE, train=WHOLE.train.take(ROWS))


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """AutoAugment chooses images on the CPU by their values, which decides what runs; on a GPU it computes all of them."""
    monkeypatch.setattr(autoaugment, "_where_needed", autoaugment._everywhere)


def trained(build, folder, *, device="cpu", replay=None, epochs=2, data=FEW, **changed):
    compute = make_compute(device, "32-true", deterministic=device == "cuda")
    recipe = with_epochs(build(SETTING), epochs)
    recipe = replace(recipe, stages=tuple(replace(stage, **changed) for stage in recipe.stages))
    experiment = Experiment(recipe, SETTING, data, precision="32-true")
    model, history = train_stages(experiment, Run(folder), compute, replay=replay)
    return model.state_dict(), [(entry["loss"], entry["learning_rate"]) for entry in history]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_tape_computes_nothing_while_it_records_and_plays_in_the_same_memory():
    given, total, generator, tape = torch.ones(3), torch.zeros(3), torch.Generator().manual_seed(1), Tape()

    def advance():
        total.add_(given * 2 + torch.rand(3, generator=generator))

    play = tape.record(advance, generator)
    assert not total.any()
    given.fill_(5)
    play()
    assert torch.equal(total, torch.full((3,), 10.0) + torch.rand(3, generator=torch.Generator().manual_seed(1)))


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


class Failing(Tape):
    """Fails to record once the step has run: gradients are left behind that nothing computed."""

    replay = None

    def record(self, advance, generator):
        super().record(advance, generator)
        for part in self.replay.parts:
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
    replay = replay_for(torch.device("cuda"), "32-true", True)
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


class OnTheSpot:
    """Records by remembering: the step is called again, on the chunk that was kept."""

    def __init__(self):
        self.recorded = self.played = self.plain = 0

    def plainly(self, advance):
        self.plain += 1
        advance()

    def record(self, advance, generator):
        self.recorded += 1

        def play():
            self.played += 1
            advance()

        return play


def chunk_of(size, fill, raw=None):
    return Chunk(torch.full((size,), fill), size, raw)


def played_epochs(replay, epochs, read=lambda progress: None):
    """Takes steps on chunks of the sizes given for each (stage, epoch), and returns what the steps saw."""
    seen = []

    def advance(chunk, progress):
        read(progress)
        seen.append((chunk.size, int(chunk.indices[0])))

    for stage, epoch, sizes in epochs:
        played = replay.begin(stage, advance)
        for number, size in enumerate(sizes):
            played(chunk_of(size, number), Progress(epoch, 9, number, len(sizes)))
    return seen


def test_recordings_are_kept_over_epochs_one_for_each_size_and_begin_anew_in_another_stage():
    recorder = OnTheSpot()
    epochs = [(0, epoch, [4, 4, 4, 4, 3]) for epoch in range(4)] + [(1, 0, [4, 4, 4, 4])]
    seen = played_epochs(Replay(recorder), epochs)
    assert (recorder.plain, recorder.recorded) == (3 + 3 + 3, 3)
    assert recorder.played == 4 * 5 + 4 - recorder.plain
    assert seen == [(size, number) for _, _, sizes in epochs for number, size in enumerate(sizes)]


def test_a_recording_is_made_anew_where_what_the_step_has_read_of_its_progress_has_changed():
    recorder = OnTheSpot()
    played_epochs(Replay(recorder), [(0, epoch, [4] * 7) for epoch in range(3)], lambda progress: progress.epoch)
    assert (recorder.plain, recorder.recorded, recorder.played) == (PLAIN_STEPS, 3, 21 - PLAIN_STEPS)


def test_what_would_be_recorded_for_few_steps_runs_directly():
    recorder = OnTheSpot()
    played_epochs(Replay(recorder), [(0, epoch, [4, 4]) for epoch in range(6)], lambda progress: progress.epoch)
    assert recorder.recorded == 1
    assert recorder.plain + recorder.played == 12


@pytest.mark.parametrize("raw", [None, torch.zeros(4, 3, 2, 2, dtype=torch.uint8)])
def test_a_chunk_of_files_takes_its_pixels_along(raw):
    chunk = chunk_of(4, 7, raw)
    other = copied(chunk)
    assert shape_of(other) == shape_of(chunk)
    assert other.indices.data_ptr() != chunk.indices.data_ptr()
    assert (other.raw is None) == (raw is None)
    assert raw is None or (other.raw.data_ptr() != raw.data_ptr() and torch.equal(other.raw, raw))


def test_a_companion_of_another_size_is_another_shape():
    assert shape_of(Chunk(torch.zeros(8), 4)) != shape_of(Chunk(torch.zeros(8), 8))


@pytest.mark.parametrize(("losses", "total", "bad"), [([1.0, 2.0], 3.0, -1), ([1.0, float("nan"), float("inf")], None, 1)])
def test_the_tally_keeps_the_sum_and_the_first_loss_that_is_not_finite(losses, total, bad):
    tally = Tally(torch.device("cpu"))
    for _ in range(2):
        tally.restart()
        for value in losses:
            tally.add(torch.tensor(value))
        assert tally.bad.item() == bad
        assert total is None or tally.total.item() == total


def test_graphs_where_they_cannot_be():
    with pytest.raises(ValueError, match="on a GPU"):
        replay_for(torch.device("cpu"), "bf16-mixed", True)
    assert replay_for(torch.device("cpu"), "bf16-mixed", None) is None


def test_graphs_are_recorded_on_a_gpu_unless_they_are_refused(monkeypatch):
    monkeypatch.setattr("longtail.engine.cuda_graphs.CudaGraphs", lambda device: OnTheSpot())
    device, said = torch.device("cuda"), []
    assert replay_for(device, "bf16-mixed", False) is None
    assert replay_for(device, "bf16-mixed", None, said.append).note is not None
    assert replay_for(device, "16-mixed", True, said.append).note is None


def test_a_recording_that_fails_says_why_and_gives_the_generators_their_states_back(monkeypatch):
    class Refusing:
        def __init__(self, *args, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be ...")

    class Source:
        def __init__(self, state):
            self.state = state

        def clone_state(self):
            return self.state

        def graphsafe_set_state(self, state):
            self.state = state

    class Graph:
        def register_generator_state(self, generator):
            self.generator = generator

    default, own = Source("seeded"), Source("begun")
    for name, stand_in in {"CUDAGraph": Graph, "graph": Refusing, "stream": lambda stream: nullcontext()}.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "default_generators", (default,))
    graphs = object.__new__(CudaGraphs)
    graphs.pool, graphs.stream, graphs.device = None, None, torch.device("cuda", 0)

    def advance():
        default.state = own.state = "capturing"

    with pytest.raises(NotRecorded, match=r"^operation not permitted when stream is capturing$"):
        graphs.record(advance, own)
    assert (default.state, own.state) == ("seeded", "begun")
