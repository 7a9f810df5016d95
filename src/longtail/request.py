"""What a user asks for, checked, and turned into a setting and a recipe."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from longtail import choices, recipes, settings
from longtail.data.imbalance import GROUP_RULES
from longtail.description import change, checked, look_up, parameters_of, unknown
from longtail.parsing import parse_value
from longtail.recipe import Recipe, Setting, with_epochs


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
    budget: str = "paper"
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
    deterministic: bool = False
    graphs: bool = False
    jobs: int | None = None

    def __post_init__(self) -> None:
        """100.0 is 100: however the imbalance was written, it is the same experiment."""
        if self.imbalance is not None and float(self.imbalance).is_integer():
            object.__setattr__(self, "imbalance", int(self.imbalance))


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
    if request.jobs is not None and request.jobs < 1:
        raise ValueError(f"--jobs must be at least 1; got {request.jobs}.")
    if request.budget not in ("paper", "common"):
        raise ValueError(unknown("budget", request.budget, ["paper", "common"]))
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
    takes = parameters_of(settings.NAMED[str(request.data)])
    if request.imbalance is not None and "imbalance" not in takes:
        raise ValueError(f"'{request.data}' has the long tail that was published and takes no --imbalance; leave it out.")
    if request.pretrained and request.backbone is None and "pretrained" not in takes:
        raise ValueError("--pretrained needs --backbone NAME, one of timm's models: there are no weights for the setting's own.")


def chosen_setting(request: Request) -> tuple[Setting, Path, str]:
    """The named setting, or one chosen for the folder; where its data lie; and what was chosen, in a line."""
    name = str(request.data)
    if name in settings.NAMED:
        root = request.root or Path(os.environ.get("LONGTAIL_DATA", "data"))
        return _named(request, name), root, ""
    place = Path(request.data)
    if not place.exists() and place.parent == Path() and not place.suffix:
        known = [*settings.NAMED, "a folder", "a CSV"]
        raise ValueError(unknown("setting or folder", name, known))
    choice = choices.choose(request, place)
    return choice.setting, place, choice.sentence


def _named(request: Request, name: str) -> Setting:
    takes = parameters_of(settings.NAMED[name])
    options: dict[str, Any] = {"split_seed": request.split_seed}
    if request.imbalance is not None:
        options["imbalance"] = request.imbalance
    if "pretrained" in takes:
        options["pretrained"] = request.weights is None and (request.pretrained or takes["pretrained"])
    return settings.NAMED[name](**options)


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
    for name, value in variants.items():
        choices_of = get_args(get_type_hints(function).get(name))
        if get_origin(get_type_hints(function).get(name)) is Literal and value not in choices_of:
            raise ValueError(unknown(name, str(value), list(choices_of)))
    recipe: Recipe = function(setting, **variants)
    if request.epochs is not None:
        recipe = with_epochs(recipe, request.epochs)
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
