"""From what a user asks for to a finished run: what the command line and `longtail.train` share."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from longtail import choices, recipes, runs, settings
from longtail.data.imbalance import GROUP_RULES
from longtail.data.splits import Data, fingerprint, hold_out
from longtail.evaluation import judge
from longtail.inference import as_trained, reference_of
from longtail.judging import judged_again
from longtail.model_store import write_model
from longtail.recipe import Recipe, Setting, change, checked, describe, look_up, parameters_of, parse_value, unknown
from longtail.results import results_of
from longtail.runs import Run
from longtail.training import Experiment, trained_until
from longtail.training import train as train_experiment
from longtail.weighting import Progress
from longtail.weights import content_hash


class Watcher(Protocol):
    """What a run tells whoever watches it."""

    def note(self, text: str) -> None:
        """One line worth reading."""

    def reading(self, done: int, total: int) -> None:
        """Files decoded so far."""

    def begin(self, experiment: Experiment) -> None:
        """Training starts."""

    def step(self, stage: int, progress: Progress) -> None:
        """One training step is queued."""


class Silent:
    """Watches without a word."""

    def note(self, text: str) -> None: ...

    def reading(self, done: int, total: int) -> None: ...

    def begin(self, experiment: Experiment) -> None: ...

    def step(self, stage: int, progress: Progress) -> None: ...


@dataclass(frozen=True)
class Request:
    """What a user asks for. None: the setting's or the method's own choice.

    Args:
        data: a folder, a CSV, or the name of a setting.
        method: a recipe's name, or `file.py:function`.
        variants: keywords of the recipe's function, as text: {"sampler": "effective_number"}.
        changes: dotted paths into the recipe, as text: {"stages.0.loss.scale": "20"}.
    """

    data: str | Path
    method: str = "gcl"
    variants: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    imbalance: float | None = None
    epochs: int | None = None
    seed: int = 0
    split_seed: int = 0
    split: Path | None = None
    val: float | None = None
    size: int | None = None
    backbone: str | None = None
    pretrained: bool = False
    weights: Path | None = None
    protocol: str = "clean"
    groups: str = "shots"
    device: str = "auto"
    precision: str = "auto"
    runs: Path = Path("runs")
    root: Path | None = None
    download: bool = False
    skip_corrupt: bool = False
    fresh: bool = False
    tensorboard: bool = False


@dataclass(frozen=True)
class Result:
    """A finished run: its folder and its report.json."""

    run: Run
    report: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder


def prepared(request: Request, watcher: Watcher) -> tuple[Setting, Data]:
    """The setting that the request names or the folder suggests, and its data.

    Raises:
        ValueError: the request makes no sense; the sentence says what does.
    """
    check(request)
    setting, place = chosen_setting(request, watcher)
    if request.epochs is not None:
        setting = replace(setting, epochs=request.epochs)
    if request.backbone is not None and str(request.data) in settings.NAMED:
        setting = replace(setting, backbone=settings.named_backbone(request.backbone, pretrained=request.pretrained))
    data: Data = setting.data(place, **_whereabouts(request, setting, watcher))
    if data.skipped:
        watcher.note(f"Left out {len(data.skipped)} corrupt files: {', '.join(data.skipped[:5])}")
    return setting, data


def check(request: Request) -> None:
    """Refuses numbers that mean nothing.

    Raises:
        ValueError: names the option, what came, and what is expected.
    """
    if request.epochs is not None and request.epochs < 1:
        raise ValueError(f"--epochs must be at least 1; got {request.epochs}.")
    if request.imbalance is not None and not 1 <= request.imbalance < math.inf:
        raise ValueError(f"--imbalance is n_max / n_min and cannot be below 1; got {request.imbalance:g}.")
    if request.val is not None and not 0 <= request.val < 1:
        raise ValueError(f"--val is a share of the training images, at least 0 and below 1; got {request.val:g}.")
    if request.seed < 0 or request.split_seed < 0:
        raise ValueError("--seed and --split-seed must not be negative.")
    if request.protocol not in ("clean", "paper"):
        raise ValueError(unknown("protocol", request.protocol, ["clean", "paper"]))
    if request.groups not in GROUP_RULES:
        raise ValueError(unknown("group rule", request.groups, list(GROUP_RULES)))
    if request.pretrained and request.weights is not None:
        raise ValueError("--pretrained and --weights both say where to start from; give one of them.")
    if str(request.data) in settings.NAMED:
        _check_named(request)
    if request.size is not None and request.size < 8:
        raise ValueError(f"--size must be at least 8 pixels; got {request.size}.")


def _check_named(request: Request) -> None:
    folders_only = {"--split": request.split, "--size": request.size, "--skip-corrupt": request.skip_corrupt}
    for option, value in folders_only.items():
        if value:
            raise ValueError(f"{option} is for folders and CSVs; '{request.data}' has its own.")
    if request.pretrained and request.backbone is None:
        raise ValueError("--pretrained needs --backbone NAME, one of timm's models: there are no weights for the setting's own.")


def chosen_setting(request: Request, watcher: Watcher) -> tuple[Setting, Path]:
    """The named setting, or one chosen for the folder; and where its data lie."""
    name = str(request.data)
    if name in settings.NAMED:
        root = request.root or Path(os.environ.get("LONGTAIL_DATA", "data"))
        return _named(request, name), root
    place = Path(request.data)
    if not place.exists() and place.parent == Path() and not place.suffix:
        known = [*settings.NAMED, "a folder", "a CSV"]
        raise ValueError(unknown("setting or folder", name, known))
    choice = choices.choose(request, place)
    watcher.note(choice.sentence)
    return choice.setting, place


def chosen_recipe(request: Request, setting: Setting) -> Recipe:
    """The recipe that the request names, with its variants and changes.

    Raises:
        ValueError: a name is misspelled; the sentence lists what exists.
    """
    function = recipe_function(request.method)
    known = {name: value for name, value in parameters_of(function).items() if name != "setting"}
    for name in request.variants:
        if name not in known:
            raise ValueError(unknown(f"variant of {request.method}", name, list(known) or ["none"]))
    variants = {name: checked(_value(text, known[name]), known[name], name) for name, text in request.variants.items()}
    recipe: Recipe = function(setting, **variants)
    for path, text in request.changes.items():
        recipe = change(recipe, path, _value(text, look_up(recipe, path)))
    return recipe


def recipe_function(method: str) -> Callable[..., Recipe]:
    """A recipe's function by its name, or from `file.py:function`.

    Raises:
        ValueError: there is no such recipe, file or function.
    """
    if ".py:" in method:
        return _from_file(*method.rsplit(":", 1))
    known = {function.__name__: function for function in recipes.ALL}
    if method not in known:
        raise ValueError(unknown("method", method, sorted(known)))
    return known[method]


def train_one(request: Request, setting: Setting, data: Data, *, watcher: Watcher) -> Result:
    """Trains, judges and stores one recipe at one seed; a finished run is read back, an unfinished one continues."""
    from longtail.devices import make_fabric

    recipe = chosen_recipe(request, setting)
    chooses = reference_of(recipe.inference) == "val"
    data = hold_out(data, request.val if request.val is not None else 0.1 * chooses, seed=request.split_seed)
    if chooses and data.val is None:
        raise ValueError(f"{recipe.name} chooses a value on validation images, but none are held out; give --val above 0.")
    fabric, precision = make_fabric(request.device, request.precision)
    if request.weights is not None:
        setting = replace(setting, weights=content_hash(request.weights))
    experiment = Experiment(recipe, setting, data, request.seed, request.protocol, precision, weights=request.weights)
    run = Run(
        request.runs / setting.name / recipe.name / f"{request.seed}-{experiment.key()[:6]}",
        shared=request.runs / setting.name / "stages",
        tensorboard=request.tensorboard,
    )
    if request.fresh:
        forget(run, experiment)
    run.open(_record(experiment, fabric.device))
    if not run.finished:
        run.write_split(data)
        watcher.begin(experiment)
        model, history = train_experiment(experiment, run, fabric, watch=watcher.step)
        judged = judge(model, recipe.inference, data, fabric, groups=request.groups)
        earlier = [trained_until(experiment, place, run, fabric) for place in range(len(recipe.stages) - 1)]
        stages = [*(judge(m, as_trained, data, fabric, groups=request.groups).report for m in earlier), judged.report]
        write_model(run, experiment, model, judged.rule)
        run.write_predictions(judged.predictions, judged.scores)
        results = results_of(experiment, history, judged, stages, groups=request.groups, device=device_name(fabric.device))
        run.write_json("classes.json", results["classes"])
        run.write_json("report.json", results)
    report = run.read_json("report.json")
    return Result(run, report if report["group_rule"] == request.groups else judged_again(run.folder, groups=request.groups))


def forget(run: Run, experiment: Experiment) -> None:
    """Takes away what is stored of this experiment, for `--fresh`."""
    for place in range(len(experiment.recipe.stages)):
        run.drop_stage(experiment.key(place + 1))
    run.drop_state()
    run.drop_report()


def train(data: str | Path, *, method: str = "gcl", watcher: Watcher | None = None, **options: Any) -> Result:
    """Trains one method on a folder, a CSV or a named setting, and returns the finished run.

    `longtail.train("photos/", method="gcl", epochs=40)`; the options are those of `longtail train`, with underscores.

    Raises:
        TypeError: an option does not exist.
        ValueError: an option or the data make no sense; the sentence says what does.
    """
    known = list(Request.__dataclass_fields__)
    for name in options:
        if name not in known:
            raise TypeError(unknown("option", name, known))
    paths = ("split", "weights", "runs", "root")
    options = {name: Path(value) if name in paths and value is not None else value for name, value in options.items()}
    request, watcher = Request(data, method, **options), watcher or Silent()
    setting, loaded = prepared(request, watcher)
    return train_one(request, setting, loaded, watcher=watcher)


def device_name(device: Any) -> str:
    """What the numbers were measured on."""
    import platform

    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def _record(experiment: Experiment, device: Any) -> dict[str, Any]:
    recipe = experiment.recipe
    return {
        "experiment": experiment.key(),
        "recipe": describe(recipe),
        "source": recipe.source,
        "departures": list(recipe.departures),
        "setting": describe(experiment.setting),
        "seed": experiment.seed,
        "protocol": experiment.protocol,
        "precision": experiment.precision,
        "split": fingerprint(experiment.data),
        "device": device_name(device),
        "versions": runs.versions(),
        "commit": runs.commit(),
    }


def _whereabouts(request: Request, setting: Setting, watcher: Watcher) -> dict[str, Any]:
    """What reading the data needs and an experiment's identity does not."""
    asked = {"split": request.split, "watch": watcher.reading, "download": request.download}
    return {name: value for name, value in asked.items() if name in parameters_of(setting.data)}


def _named(request: Request, name: str) -> Setting:
    options: dict[str, Any] = {"split_seed": request.split_seed}
    if request.imbalance is not None:
        options["imbalance"] = request.imbalance
    return settings.NAMED[name](**options)


def _value(value: Any, current: Any) -> Any:
    return parse_value(value, current) if isinstance(value, str) else value


def _from_file(path: str, name: str) -> Callable[..., Recipe]:
    file = Path(path)
    if not file.exists():
        raise ValueError(f"There is no file '{path}'; give the recipe as path/to/file.py:function.")
    name_of_module = file.stem if file.stem not in sys.modules else f"recipes_of_{file.stem}"
    spec = importlib.util.spec_from_file_location(name_of_module, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name_of_module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    functions: Sequence[str] = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    if name not in functions:
        raise ValueError(unknown(f"function in {path}", name, list(functions) or ["none"]))
    function: Callable[..., Recipe] = getattr(module, name)
    return function
