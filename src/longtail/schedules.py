"""Learning-rate multipliers as functions of progress; all but `half_cosine` are constant within an epoch, as in the scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from longtail.weighting import Progress

Schedule = Callable[[Progress], float]
FEWEST_WARM_EPOCHS = 5


def constant(progress: Progress) -> float:
    """A multiplier of 1 in every epoch."""
    return 1.0


def steps(progress: Progress, *, milestones: Sequence[float] = (0.8, 0.9), factor: float = 0.1) -> float:
    """Multiplies the rate by `factor` at each milestone, a fraction of the stage's epochs.

    >>> [round(steps(Progress(epoch, 200)), 6) for epoch in (159, 160, 180)]
    [1.0, 0.1, 0.01]
    """
    passed = sum(progress.epoch >= milestone * progress.epochs - 1e-9 for milestone in milestones)
    return float(factor**passed)


def cosine(progress: Progress, *, first: int = 0, last: int = 0, begin: float = 0.0) -> float:
    """Cosine decay, (1 + cos(pi e / E)) / 2 in epoch e of E, with e counted from 0.

    Args:
        first: the last epoch in which the multiplier is 1; -1 where the authors' scripts step before the first epoch.
        last: number of epochs before the end at which the multiplier reaches 0; 1 where the last epoch is trained at rate 0.
        begin: the fraction of the stage after which the multiplier begins to fall.
    """
    held = first + round(begin * progress.epochs)
    passed = (progress.epoch - held) / max(progress.epochs - held - last, 1)
    return 0.5 * (1 + math.cos(math.pi * min(max(passed, 0.0), 1.0)))


def half_cosine(progress: Progress, *, warm: float = 0.05) -> float:
    """Linear warm-up over the fraction `warm` of the stage, then half a cosine to 0; the multiplier changes with every step.

    (1 + cos(pi t)) / 2 * min(t / warm, 1), with t the fraction of the stage in the middle of the step; `warm` may be 0.

    >>> [round(half_cosine(Progress(0, 2, step, 10), warm=0.1), 3) for step in (0, 1, 2, 9)]
    [0.25, 0.74, 0.962, 0.539]
    """
    t = progress.fraction + 0.5 / (progress.epochs * progress.steps)
    return 0.5 * (1 + math.cos(math.pi * t)) * (min(t / warm, 1.0) if warm > 0 else 1.0)


def parabolic(progress: Progress, *, horizon: float = 1.0) -> float:
    """Parabolic decay, 1 - (e / T)^2 with e counted from 0 and T = horizon * epochs.

    Zhou et al., CVPR 2020 (cumulative learning); BBN's iNaturalist runs have T = 100 for 90 epochs and 200 for 180.
    """
    return 1 - (progress.epoch / (horizon * progress.epochs)) ** 2


def warmed_up(
    progress: Progress,
    *,
    schedule: Schedule,
    share: float = 0.025,
    fewest: int = FEWEST_WARM_EPOCHS,
    start: float | None = None,
) -> float:
    """Linear warm-up, (e + 1) / W in epoch e of W, then `schedule`.

    W is the fraction `share` of the epochs, but at least `fewest` epochs, or a quarter of the epochs in runs of fewer than four
    times `fewest`, since first steps at the full rate do lasting damage, however long the run is.

    Args:
        start: the multiplier of the first epoch, from which the multiplier rises by equal steps to 1; None: 1 / W.

    >>> warmed_up(Progress(0, 200), schedule=constant)
    0.2
    """
    warm_epochs = max(round(share * progress.epochs), min(fewest, progress.epochs // 4), 1)
    if progress.epoch >= warm_epochs:
        return schedule(progress)
    if start is None:
        return (progress.epoch + 1) / warm_epochs
    return start + (1 - start) * progress.epoch / warm_epochs


def first_drop(schedule: Schedule, epochs: int) -> int:
    """The first epoch whose learning rate is below the one before it; 0 if it never falls."""
    rates = [schedule(Progress(epoch, epochs)) for epoch in range(epochs)]
    return next((e for e in range(1, epochs) if rates[e] < rates[e - 1] - 1e-12 and rates[e - 1] == max(rates)), 0)
