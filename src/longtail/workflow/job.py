"""A request as it is carried out: its record, and how its run is finished."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from longtail.data.loaders import Feed
from longtail.data.readers import naming_dead_workers
from longtail.engine.batches import naming_lone_images
from longtail.engine.building import trained_until
from longtail.engine.compute import Compute
from longtail.engine.cuda_graphs import replay_for
from longtail.engine.devices import deterministic, device_name
from longtail.engine.evaluation import evaluate
from longtail.engine.replay import Replay
from longtail.engine.report import run_report
from longtail.engine.training import Training, new_loop, stages_of
from longtail.engine.variants import variants_of
from longtail.inference import as_trained
from longtail.runs.anew import begun_anew, drop_derived, finish_taking, take_place, weights_before
from longtail.runs.card import CARD, model_card
from longtail.runs.code import keep_code, kept_as, needs_trust
from longtail.runs.files import encoded
from longtail.runs.folder import REPORT
from longtail.runs.model_store import write_model
from longtail.runs.provenance import commit, versions
from longtail.runs.report import report_text, write_report
from longtail.runs.run import Run
from longtail.runs.seals import sha256
from longtail.runs.siblings import contents_of, said_of_siblings
from longtail.runs.starts import Start, add_start, this_start
from longtail.runs.verify import damaged, read_back
from longtail.spec.description import describe
from longtail.spec.experiment import Experiment
from longtail.spec.identity import libraries, sources
from longtail.turns import first
from longtail.workflow.command import command_of
from longtail.workflow.request import Request
from longtail.workflow.resolve import own_files
from longtail.workflow.watcher import Watcher

TRAINS = "trains"  # name under which the first of several processes says whether it trains, or reads back


@dataclass(frozen=True)
class Company:
    """What runs share whose steps are taken together.

    Args:
        feed: the training images on the device.
        stacked: whether their backbones are computed as one where that can be done; bits then differ from those of a run alone.
    """

    feed: Feed
    stacked: bool


@dataclass(frozen=True)
class Job:
    """A request as it is carried out: its experiment, the device that trains it, and the watcher of its progress.

    Args:
        company: what it shares with other jobs of this process; None for a job alone.
    """

    request: Request
    experiment: Experiment
    compute: Compute
    watcher: Watcher
    company: Company | None = None

    @cached_property
    def record(self) -> dict[str, Any]:
        """Content of record.json before the first start."""
        own = kept_as(own_files(self.request))
        how = {"graphs": self.replay is not None, "fast": list(self.fast), "stacked": self.stacked}
        asked = {"code": own, "command": command_of(self.request)}
        return {**_record(self.experiment, self.compute.device), **how, **asked}

    @cached_property
    def replay(self) -> Replay | None:
        """What records the steps; None where they run directly."""
        graphs = self.request.graphs if self.compute.world == 1 else False
        return replay_for(self.compute.device, graphs, self.watcher.note)

    @property
    def fast(self) -> tuple[str, ...]:
        """Names of the variants by which steps are computed."""
        return variants_of(self.request.fast, device_name(self.compute.device)) if self.compute.world == 1 else ()

    @property
    def stacked(self) -> bool:
        """Whether its network is computed as one with those of other jobs where that can be done."""
        return self.company is not None and self.company.stacked

    @property
    def start(self) -> Start:
        """The conditions of this start."""
        device = device_name(self.compute.device).partition(",")[0]  # the threads stand for themselves
        how: Any = {
            "deterministic": deterministic(),
            "graphs": self.replay is not None,
            "fast": self.fast,
            "stacked": self.stacked,
        }
        return this_start(device=device, processes=self.compute.world, **how)


def carried_out(job: Job, run: Run) -> Training[None]:
    """Finishes the run, or reads it back; damaged files are made anew. Of several processes only the first one does so."""
    request, watcher = job.request, job.watcher
    with run.locked():
        run.open(job.record)
        finish_taking(run)
        if request.fresh:
            anew = begun_anew(run)
            anew.open(job.record)
            yield from finish(job, anew)
            take_place(run, anew)
        elif damage := list(damaged(run)) if run.finished else []:
            watcher.note(f"{' '.join(damage)} What is damaged is made anew.")
            yield from _finish_in_place(job, run)
        elif run.finished:
            watcher.note(read_back(run))
            first(TRAINS, lambda: False)
        else:
            if said := said_of_siblings(run, job.record, partial(contents_of, job.experiment.data.splits)):
                watcher.note(said)
            yield from _finish_in_place(job, run)


def _finish_in_place(job: Job, run: Run) -> Training[None]:
    """Finishes the run; if its files were of other weights before, what was made of these goes."""
    before = weights_before(run)
    yield from finish(job, run)
    run.forget()
    drop_derived(run, before, weights_before(run))


def finish(job: Job, run: Run) -> Training[None]:
    """Trains the stages that are not trained yet, evaluates every stage, and writes the files of a finished run.

    Of several processes the first one writes; the others call this with it, and compute their part.
    """
    if job.compute.leads:
        first(TRAINS, lambda: True)
    experiment, compute, groups = job.experiment, job.compute, job.request.groups
    how: Any = {"groups": groups, "views": experiment.setting.views}
    recipe, data = experiment.recipe, experiment.data
    if compute.leads:
        _begin(job, run)
    job.watcher.begin(experiment)
    with naming_dead_workers(), naming_lone_images():
        feed = None if job.company is None else job.company.feed
        loop = new_loop(experiment, run, compute, watch=job.watcher.step, replay=job.replay, fast=job.fast, feed=feed)
        model, history = yield from stages_of(loop)
        evaluation = evaluate(model, recipe.inference, data, compute, **how)
        earlier = [trained_until(experiment, stage_index, run, compute) for stage_index in range(len(recipe.stages) - 1)]
        stages = [*(evaluate(before, as_trained, data, compute, **how).report for before in earlier), evaluation.report]
    if not compute.leads:
        return
    run.reopen()
    write_model(run, experiment, model, evaluation.rule)
    run.write_predictions(evaluation.predictions, evaluation.scores)
    report = run_report(experiment, history, evaluation, stages, groups=groups, device=device_name(compute.device))
    run.write_json("classes.json", report.classes)
    card = model_card(report, run.record, size=data.size, own_code=needs_trust(run.folder))
    run.write(CARD, encoded(card))
    run.written[REPORT] = sha256(encoded(report_text(report)))
    run.write_checksums()
    write_report(run.folder, report)
    run.drop_states()


def _begin(job: Job, run: Run) -> None:
    """Writes what is known before training: this start, the user's own code, the split."""
    add_start(run, job.start)
    keep_code(run, own_files(job.request))
    run.write_split(job.experiment.data)


def _record(experiment: Experiment, device: Any) -> dict[str, Any]:
    recipe = experiment.recipe
    return {
        "experiment": experiment.key(),
        "recipe": describe(recipe),
        "source": recipe.source,
        "departures": list(recipe.all_departures),
        "setting": describe(experiment.setting),
        "seed": experiment.seed,
        "protocol": experiment.protocol,
        "precision": experiment.precision,
        "deterministic": deterministic(),
        "split": experiment.fingerprint,
        "libraries": libraries(),
        "sources": sources(recipe, experiment.setting),
        "stages": [experiment.key(stages + 1) for stages in range(len(recipe.stages))],
        "device": device_name(device),
        "versions": versions(),
        "commit": commit(),
    }
