"""What is recorded, when it is played back, and when it is recorded anew."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from taped import WHOLE, OnTheSpot, Tape

from longtail.data.loaders import Chunk, Feed
from longtail.data.splits import Split
from longtail.data.transforms import random_crop
from longtail.engine.cuda_graphs import CudaGraphs, replay_for
from longtail.engine.recordable import noted, obstacle
from longtail.engine.replay import PLAIN_STEPS, NotRecorded, Replay, Tally, copied, shape_of
from longtail.weighting import Progress


def test_a_tape_computes_nothing_while_it_records_and_plays_in_the_same_memory():
    given, total, generator, tape = torch.ones(3), torch.zeros(3), torch.Generator().manual_seed(1), Tape()

    def advance():
        total.add_(given * 2 + torch.rand(3, generator=generator))

    play = tape.record(advance, generator)
    assert not total.any()
    given.fill_(5)
    play()
    assert torch.equal(total, torch.full((3,), 10.0) + torch.rand(3, generator=torch.Generator().manual_seed(1)))


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


def means_of_batches(data, replay):
    """The mean of each batch of two epochs of images from files, as a step computes it."""
    feed, generator, mean, found = Feed(data.train, data, torch.device("cpu"), workers=0), torch.Generator(), torch.zeros(()), []

    def advance(chunk, progress):
        mean.copy_(feed.batch(chunk, augment=(random_crop,), generator=generator).images.mean())

    for epoch in range(2):
        generator.manual_seed(epoch)
        step = advance if replay is None else replay.begin(0, advance, (), generator)
        for number, chunk in enumerate(feed.chunks(torch.arange(24).roll(epoch), 4)):
            step(chunk, Progress(epoch, 2, number, 6))
            found.append(mean.item())
    return found


def test_pixels_from_files_are_copied_to_where_a_recorded_step_reads_them(tmp_path):
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    split = Split(tuple(f"{number}.png" for number in range(24)), np.arange(24) % 3, root=tmp_path)
    data = replace(WHOLE, train=split, size=8)
    tape = Tape()
    assert means_of_batches(data, Replay(tape)) == means_of_batches(data, None)
    assert (tape.recorded, tape.played) == (1, 12 - PLAIN_STEPS)


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


@pytest.mark.parametrize(
    ("build", "counts"),
    [
        (partial(torch.optim.Adagrad, lr=0.1, lr_decay=0.1, foreach=True), True),
        (partial(torch.optim.AdamW, lr=0.1, foreach=True), True),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9), False),
    ],
)
def test_an_optimizer_that_counts_its_steps_on_the_cpu_for_a_device_is_no_step_to_record(build, counts):
    weight = torch.nn.Parameter(torch.zeros(3, device="meta"))
    optimizer = build([weight])

    def advance(_):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()

    advance(None)
    said = obstacle(advance, Progress(), [torch.nn.Identity(), optimizer])
    assert said == (f"it changes {type(optimizer).__name__}.state.0.step in Python" if counts else None)


def test_graphs_where_they_cannot_be():
    with pytest.raises(ValueError, match="on a GPU"):
        replay_for(torch.device("cpu"), True)
    assert replay_for(torch.device("cpu"), None) is None


def test_graphs_are_recorded_on_a_gpu_unless_they_are_refused(monkeypatch):
    monkeypatch.setattr("longtail.engine.cuda_graphs.CudaGraphs", lambda device: OnTheSpot())
    device, said = torch.device("cuda"), []
    assert replay_for(device, False) is None
    assert replay_for(device, None, said.append).note is not None
    assert replay_for(device, True, said.append).note is None


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


def test_what_is_read_of_a_place_in_a_stage_of_another_length_is_noted():
    watched = noted(Progress(2, 4, 3, 6))
    there = watched.of(10)
    assert watched.reads == {}
    assert (there.fraction, watched.epochs) == (0.25, 4)
    assert watched.reads == {"epoch": 2, "step": 3, "steps": 6}
