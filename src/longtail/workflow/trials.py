"""Trains candidates without the validation images, and reads their networks on these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from longtail.choosing import folds_of
from longtail.data.readers import naming_dead_workers
from longtail.data.splits import Data, hold_out
from longtail.engine.evaluation import ForwardPasses
from longtail.engine.training import train_stages
from longtail.errors import UserError
from longtail.inference import InferenceRule, Predictions, as_trained, logit_adjusted, rebalanced
from longtail.inference.fitting import function_of
from longtail.runs.layout import stages_folder
from longtail.runs.run import Run
from longtail.runs.starts import add_start
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import Setting
from longtail.workflow.candidates import Reading, Tried, tried
from longtail.workflow.one_run import experiment_of, job_of
from longtail.workflow.request import Request
from longtail.workflow.resolve import chosen_recipe
from longtail.workflow.watcher import Watcher

VAL_SHARE = 0.1
LOGITS_ALONE = (as_trained, logit_adjusted, rebalanced)  # rules that need a network's logits alone, and are fitted to no network
Target = tuple[float, ...] | None


def validation_parts(data: Data, request: Request) -> list[Data]:
    """The data with validation images: those of the folder or a share of each class, or each of `folds` parts in turn.

    Raises:
        UserError: the data come with validation images of their own, or no class has enough images.
    """
    if request.folds == 1:
        held = hold_out(data, request.val or VAL_SHARE, seed=request.split_seed)
        if not len(held.splits["val"]):
            twice = max(data.class_counts) > 1
            raise UserError(
                "No class has enough training images (3) to hold one out for validation. "
                f"{'Choose on all of them with `folds=2`, or train' if twice else 'Add images, or train'} one method with "
                "`method=NAME`."
            )
        return [held]
    if data.val is not None:
        raise UserError(f"'{request.data}' comes with validation images of its own; leave out `folds`.")
    labels = torch.from_numpy(data.train.labels)
    fold = folds_of(labels, request.folds, seed=request.split_seed)
    fold[(torch.tensor(data.class_counts) < 2)[labels]] = -1  # the only image of a class is always trained on
    parts = [_without(data, fold == part) for part in range(request.folds) if bool((fold == part).any())]
    if not parts:
        raise UserError(
            "No class has two training images, of which one could be held out for validation. Add images, or train one method "
            "with `method=NAME`."
        )
    return parts


def _without(data: Data, held: Tensor) -> Data:
    """The data with some training images held out for validation."""
    kept, val = ((~held).nonzero()[:, 0].numpy(), held.nonzero()[:, 0].numpy())
    return replace(data, train=data.train.take(kept), val=data.train.take(val))


@dataclass(frozen=True)
class Trials:
    """Candidates on the validation images of the parts of some data.

    Args:
        folder: folder in which candidates are trained.
        data: what the chosen method is trained on: all labelled images, or those of the networks that are compared.
        prior: class frequencies in use (C,).
        target: the same for rules that add their log; None where all classes are alike.
        own_val: whether the data come with validation images of their own.
    """

    request: Request
    setting: Setting
    parts: Sequence[Data]
    data: Data
    prior: Tensor
    target: Target
    folder: Path
    watcher: Watcher
    own_val: bool = False
    _passes: dict[str, ForwardPasses] = field(default_factory=dict)

    @property
    def labels(self) -> Tensor:
        """Classes of the validation images of all parts (M,)."""
        return torch.cat([torch.from_numpy(part.splits["val"].labels) for part in self.parts])

    def asked(self, reading: Reading, tau: float | None = None) -> Request:
        """The request for a reading, with a strength."""
        return reading.asked(self.request, tau, self.target)

    def experiments(self, reading: Reading) -> list[Experiment]:
        """The experiment of a reading on each part."""
        asked = self.asked(reading)
        return [experiment_of(asked, self.setting, part, self.watcher) for part in self.parts]

    def tried(self, name: str, readings: Sequence[Reading]) -> list[Tried]:
        """Trains the networks of a candidate, and reads them in all ways; readings of one network share its passes."""
        self._passes.clear()
        return [tried(each, self._rule(each), self._of(name, each), self.prior) for each in readings]

    def predictions(self, name: str, readings: Sequence[Reading], chosen: Reading) -> tuple[list[Predictions], bool]:
        """Predictions on the validation images of each part, by the network of one of a candidate's readings.

        Where the rule of the reading is fitted to its network, their logits are its scores, which the second value says.
        """
        for each in readings[: readings.index(chosen)]:
            self._of(name, each)
        rule = self._rule(chosen)(None)
        parts = [(passes.over("val"), passes) for passes in self._of(name, chosen)]
        if function_of(rule) in LOGITS_ALONE:
            return [val for val, _ in parts], False
        return [replace(val, logits=passes.fit(rule, to="val")(val)) for val, passes in parts], True

    def _rule(self, reading: Reading) -> Callable[[float | None], InferenceRule]:
        return lambda tau: chosen_recipe(self.asked(reading, tau), self.setting).inference

    def _of(self, name: str, reading: Reading) -> list[ForwardPasses]:
        """The passes of the reading's network on each part."""
        found = []
        for number, experiment in enumerate(self.experiments(reading)):
            key = experiment.key(len(experiment.recipe.stages))
            if key not in self._passes:
                folder = self.folder / (name if len(self.parts) == 1 else f"{name}-{number}")
                self._passes[key] = self._trained(self.asked(reading), experiment, folder)
            found.append(self._passes[key])
        return found

    def _trained(self, request: Request, experiment: Experiment, folder: Path) -> ForwardPasses:
        """Trains a candidate, or loads its stored stages, and makes its passes over the validation images ready."""
        shared = self.folder / "stages" if request.fresh else stages_folder(request.runs, experiment.setting.name)
        run = Run(folder, shared=shared, tensorboard=request.tensorboard, note=self.watcher.note)
        job = job_of(request, experiment, self.watcher)
        with run.locked():
            run.open(job.record)
            add_start(run, job.start)
            self.watcher.begin(experiment)
            with naming_dead_workers():
                model, _ = train_stages(experiment, run, job.compute, watch=self.watcher.step, fast=job.fast, replay=job.replay)
                passes = ForwardPasses(model, experiment.data, job.compute, views=experiment.setting.views)
                passes.over("val")
            return passes
