"""Trainings that take their steps together end as those that run alone, also after an interruption and beside one that fails."""

import threading
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest
import torch
from taped import FEW, SETTING, Tape
from torch import nn
from torch.optim import AdamW

from longtail import recipes
from longtail.engine.devices import make_compute
from longtail.engine.lockstep import Way, in_lockstep
from longtail.engine.replay import Replay
from longtail.engine.training import new_loop, stages_of, train_stages
from longtail.errors import TrainingFailed
from longtail.networks.backbones import CifarResNet
from longtail.runs.locks import is_held
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import with_epochs

SMALL = replace(SETTING, backbone=partial(CifarResNet, depth=8, width=4))
SEEDS = (0, 1, 2)


class Interrupted(BaseException):
    """Stands for whatever ends a process."""


def interrupted_at(*place):
    def watch(stage, progress):
        if (stage, progress.epoch) == place:
            raise Interrupted

    return watch


def experiment(build, seed, *, setting=SMALL, epochs=3, **changed):
    recipe = with_epochs(build(setting), epochs)
    stages = [replace(stage, epochs=epochs, **(changed if index == 0 else {})) for index, stage in enumerate(recipe.stages)]
    return Experiment(replace(recipe, stages=tuple(stages)), setting, FEW, seed, precision="32-true")


def loops(experiments, folder, **how):
    return [new_loop(each, Run(folder / str(each.seed)), make_compute("cpu", "32-true"), **how) for each in experiments]


def in_step(experiments, folder, *, stacked=False, notes=None, sizes=None, **how):
    """Trains the experiments in lockstep, and notes how many took each epoch together."""
    way = Way(stacked=stacked, note=(notes if notes is not None else []).append)
    train = way.train
    way.train = lambda due: (sizes.append(len(due)) if sizes is not None else None) or train(due)
    return in_lockstep([stages_of(loop) for loop in loops(experiments, folder, **how)], way)


def in_one_folder(experiments, folder, *, spoil=None, after=lambda: None):
    """Trains the experiments in lockstep with stages that they share, and returns their ends and who took each epoch together."""
    compute, rounds = make_compute("cpu", "32-true"), []
    members = [new_loop(each, Run(folder / each.recipe.name, shared=folder), compute) for each in experiments]
    if spoil is not None:
        nn.init.constant_(members[spoil].model.head.weight, float("nan"))
    way = Way(stacked=False, note=pytest.fail)
    train = way.train

    def noted(due):
        rounds.append([(loop.experiment.recipe.name, work.index) for loop, work, _ in due])
        answers = train(due)
        after()
        return answers

    way.train = noted
    return in_lockstep([stages_of(loop) for loop in members], way), rounds


def alone(experiments, folder):
    return [train_stages(each, Run(folder / str(each.seed)), make_compute("cpu", "32-true")) for each in experiments]


def losses(end):
    return [(entry["stage"], entry["epoch"], entry["loss"], entry["learning_rate"]) for entry in end[1]]


def assert_same(ends, others):
    for (model, _), (other, _) in zip(ends, others, strict=True):
        states = model.state_dict(), other.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert [losses(end) for end in ends] == [losses(other) for other in others]


def sizes_after(every, folder, places, *, recorded):
    """How many took each epoch together, in trainings that are interrupted at the places; they end in the bits of each alone."""
    tape, sizes = Tape(), []
    for place in [*places, (9, 9)]:
        replay = Replay(tape) if recorded else None
        try:
            ends = in_step(every, folder, sizes=sizes, watch=interrupted_at(*place), replay=replay)
        except Interrupted:
            continue
    assert_same(ends, alone(every, folder / "alone"))
    assert (tape.recorded > 0) == recorded
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [False, True])
def test_branches_end_in_the_bits_of_each_alone_after_interruptions_at_several_epochs(recorded, tmp_path):
    every = [experiment(recipes.gcl, seed) for seed in SEEDS]
    with pytest.raises(Interrupted):
        train_stages(every[1], Run(tmp_path / "1"), make_compute("cpu", "32-true"), watch=interrupted_at(0, 2))
    assert sizes_after(every, tmp_path, [(0, 1), (1, 1)], recorded=recorded) == [2, 2, 2, 3, 3, 3, 3, 3]


@pytest.mark.slow
def test_a_rate_that_changes_in_each_step_is_that_of_a_training_alone(tmp_path):
    from longtail.schedules import half_cosine

    every = [experiment(recipes.ce, seed, epochs=2, schedule=half_cosine, average=0.2) for seed in SEEDS[:2]]
    tape, notes = Tape(), []
    ends = in_step(every, tmp_path, replay=Replay(tape), stacked=True, notes=notes)
    assert_same(ends, alone(every, tmp_path / "alone"))
    assert notes == [
        "Networks can be stacked in stages that train all parameters at one rate, average no weights, and have the step classify "
        "or mixup. In stage 1 they are branches of one step."
    ]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [None, partial(AdamW, lr=0.003)])
def test_stacked_networks_go_on_after_an_interruption_as_without_one(optimizer, tmp_path):
    """So what a checkpoint holds is that of each network, the optimizer's state among it; its momentum would be missed."""
    changed = {} if optimizer is None else {"optimizer": optimizer}
    every, tape = [experiment(recipes.ce, seed, **changed) for seed in SEEDS], Tape()
    whole = in_step(every, tmp_path / "whole", stacked=True, replay=Replay(tape))
    with pytest.raises(Interrupted):
        in_step(every, tmp_path, stacked=True, watch=interrupted_at(0, 2))
    assert_same(in_step(every, tmp_path, stacked=True), whole)
    assert tape.recorded == 1
    for (_, history), (_, other) in zip(whole, alone(every, tmp_path / "alone"), strict=True):
        assert [each["loss"] for each in history] == pytest.approx([each["loss"] for each in other], rel=1e-3)


@pytest.mark.slow
def test_a_stacked_network_can_go_on_alone(tmp_path):
    every = [experiment(recipes.ce, seed) for seed in SEEDS[:2]]
    with pytest.raises(Interrupted):
        in_step(every, tmp_path, stacked=True, watch=interrupted_at(0, 2))
    ends = alone(every, tmp_path)
    for (_, history), (_, other) in zip(ends, alone(every, tmp_path / "alone"), strict=True):
        assert [each["loss"] for each in history] == pytest.approx([each["loss"] for each in other], rel=1e-3)


@pytest.mark.parametrize("stacked", [False, True])
def test_one_that_fails_leaves_the_others_as_they_are(stacked, tmp_path):
    every = [experiment(recipes.ce, seed, epochs=2) for seed in SEEDS]
    members = loops(every, tmp_path)
    nn.init.constant_(members[1].model.head.weight, float("nan"))
    way = Way(stacked=stacked, note=pytest.fail)
    first, failed, last = in_lockstep([stages_of(loop) for loop in members], way)
    assert isinstance(failed, TrainingFailed)
    assert str(failed).startswith("The loss is not finite in stage 1, epoch 1, batch 1 (")
    others = alone([every[0], every[2]], tmp_path / "alone")
    if not stacked:
        assert_same([first, last], others)
    for (_, history), (_, other) in zip([first, last], others, strict=True):
        assert [each["loss"] for each in history] == pytest.approx([each["loss"] for each in other], rel=1e-3)


class Dropped(CifarResNet):
    """A backbone that draws random numbers."""

    def forward(self, images):
        return nn.functional.dropout(super().forward(images), training=self.training)


def test_a_backbone_that_cannot_be_computed_for_several_is_said_once(tmp_path):
    setting = replace(SMALL, backbone=partial(Dropped, depth=8, width=4))
    notes, every = [], [experiment(recipes.ce, seed, setting=setting, epochs=2) for seed in SEEDS[:2]]
    ends = in_step(every, tmp_path, stacked=True, notes=notes)
    assert [len(history) for _, history in ends] == [2, 2]
    assert len(notes) == 1
    assert notes[0].startswith("These networks cannot be stacked (vmap: ")
    assert notes[0].endswith("). In stage 1 they are branches of one step.")


def test_the_locks_are_free_after_an_interruption_whose_traceback_is_kept(tmp_path):
    every = [experiment(recipes.ce, seed, epochs=1) for seed in SEEDS[:2]]
    locks = [tmp_path / str(each.seed) / "stages" / f".{each.key(1)}.lock" for each in every]
    with pytest.raises(Interrupted) as stopped:
        in_step(every, tmp_path, watch=interrupted_at(0, 0))
    assert [lock.exists() for lock in locks] == [True, True]
    assert not any(map(is_held, locks))
    assert stopped.tb is not None


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [False, True])
def test_several_recipes_end_in_the_bits_of_each_alone_after_an_interruption(recorded, tmp_path):
    """With stages of other lengths, a companion batch, and a curriculum that reads how far its own stage is."""
    epochs = {recipes.ce: 2, recipes.bbn: 4, recipes.gcl: 3}
    fair = replace(SMALL, budget="common")
    every = [experiment(each, seed, setting=fair, epochs=count) for seed, (each, count) in enumerate(epochs.items())]
    assert sizes_after(every, tmp_path, [(0, 1)], recorded=recorded) == [3, 3, 3, 2, 1, 1, 1, 1]


def test_batches_that_are_cut_otherwise_take_steps_of_their_own(tmp_path):
    every = [experiment(recipes.ce, seed, epochs=1, batch_size=size) for seed, size in enumerate([24, 12, 24])]
    sizes = []
    assert_same(in_step(every, tmp_path, sizes=sizes), alone(every, tmp_path / "alone"))
    assert sizes == [2, 1]


def test_a_stage_that_several_have_is_trained_once_while_the_others_wait(tmp_path):
    every = [experiment(build, 0, epochs=1) for build in (recipes.ce, recipes.crt, recipes.focal, recipes.lws)]
    ends, rounds = in_one_folder(every, tmp_path)
    assert rounds == [[("ce", 0), ("focal", 0)], [("crt", 1), ("lws", 1)]]
    assert_same(ends[1:2], alone(every[1:2], tmp_path / "alone"))


def test_where_the_training_of_a_shared_stage_fails_another_one_trains_it(tmp_path):
    ends, rounds = in_one_folder([experiment(build, 0, epochs=1) for build in (recipes.ce, recipes.crt)], tmp_path, spoil=0)
    assert isinstance(ends[0], TrainingFailed)
    assert rounds == [[("ce", 0)], [("crt", 0)], [("crt", 1)]]


def test_others_go_on_while_a_stage_is_trained_elsewhere(tmp_path):
    every, elsewhere = [experiment(build, 0, epochs=2) for build in (recipes.ce, recipes.focal)], ExitStack()
    elsewhere.enter_context(Run(tmp_path / "elsewhere", shared=tmp_path).stage_locked(every[0].key(1)))
    ends, rounds = in_one_folder(every, tmp_path, after=elsewhere.close)
    assert rounds == [[("focal", 0)], [("ce", 0)], [("ce", 0), ("focal", 0)]]
    assert_same(ends[:1], alone(every[:1], tmp_path / "alone"))


def test_the_last_ones_wait_for_a_stage_that_is_trained_elsewhere(tmp_path):
    every = [experiment(build, 0, epochs=1) for build in (recipes.ce, recipes.ncm)]
    held, free = threading.Event(), threading.Event()

    def elsewhere():
        with Run(tmp_path / "elsewhere", shared=tmp_path).stage_locked(every[0].key(1)):
            held.set()
            free.wait(30)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert held.wait(30)
    threading.Timer(0.2, free.set).start()
    ends, rounds = in_one_folder(every, tmp_path)
    thread.join()
    assert rounds == [[("ce", 0)]]
    assert [len(history) for _, history in ends] == [1, 1]
