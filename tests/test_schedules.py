"""Learning rates of the published scripts, epoch by epoch."""

import math
from functools import partial

import pytest

from longtail import schedules
from longtail.weighting import Progress
from reference.formulas import agrees

GCL_FIRST_STAGE = partial(schedules.warmed_up, schedule=schedules.steps)
LDAM = partial(schedules.warmed_up, schedule=partial(schedules.steps, factor=0.01))


def rates(schedule, base, epochs, total):
    return [base * schedule(Progress(epoch, total)) for epoch in epochs]


@pytest.mark.parametrize(
    ("schedule", "base", "epochs", "total", "printed"),
    [
        (GCL_FIRST_STAGE, 0.1, (0, 4, 5, 159, 160, 179, 180, 199), 200, ".02 .1 .1 .1 .01 .01 .001 .001"),
        (schedules.cosine, 0.002, (0, 10, 15, 29), 30, ".002 .0015 .001 5.4781e-06"),
        (schedules.cosine, 0.2, (1, 2, 45, 90), 90, ".1999390827 .1997564050 .1 0"),
        (LDAM, 0.1, (0, 4, 5, 159, 160, 179, 180, 199), 200, ".02 .1 .1 .1 .001 .001 1e-5 1e-5"),
        (schedules.constant, 0.1, (0, 1, 9), 10, ".1 .1 .1"),
    ],
    ids=["gcl 1", "gcl 2", "decoupling", "ldam", "constant"],
)
def test_published_rates(schedule, base, epochs, total, printed):
    assert agrees(rates(schedule, base, epochs, total), printed)


@pytest.mark.parametrize("epochs", [10, 30, 60, 100, 400])
def test_milestones_scale_with_the_budget(epochs):
    values = rates(schedules.steps, 1.0, range(epochs), epochs)
    assert [values.count(v) for v in sorted(set(values), reverse=True)] == [epochs * 8 // 10, epochs // 10, epochs // 10]


def test_milestones_at_thirds_fall_on_whole_epochs():
    schedule = partial(schedules.steps, milestones=(1 / 3, 2 / 3))
    assert [e for e in range(1, 30) if schedule(Progress(e, 30)) < schedule(Progress(e - 1, 30))] == [10, 20]


def test_warm_up_is_linear_and_at_least_one_epoch():
    schedule = partial(schedules.warmed_up, schedule=schedules.constant)
    assert rates(schedule, 1.0, range(7), 200) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])
    assert schedule(Progress(0, 3)) == 1


@pytest.mark.parametrize(("epochs", "warm"), [(4, 1), (10, 2), (20, 5), (40, 5), (200, 5), (400, 10)])
def test_short_runs_keep_five_epochs_of_warm_up(epochs, warm):
    schedule = partial(schedules.warmed_up, schedule=schedules.constant)
    assert rates(schedule, 1.0, range(warm), epochs) == pytest.approx([(e + 1) / warm for e in range(warm)])


@pytest.mark.parametrize(
    ("schedule", "epoch"),
    [(GCL_FIRST_STAGE, 160), (schedules.steps, 160), (schedules.constant, 0), (schedules.cosine, 1)],
)
def test_first_drop(schedule, epoch):
    assert schedules.first_drop(schedule, 200) == epoch


def test_half_a_cosine_without_warm_up():
    assert schedules.half_cosine(Progress(0, 2, 0, 10), warm=0.0) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.025)))
