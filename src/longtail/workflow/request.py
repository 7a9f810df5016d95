"""What a user asks for, checked, and turned into a setting and a recipe."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from longtail import recipes, settings
from longtail.data.groups import GROUP_RULES
from longtail.errors import UserError
from longtail.spec.description import change, checked, look_up, parameters_of, unknown
from longtail.spec.parsing import parse_value
from longtail.spec.recipe import Recipe, Setting, with_epochs


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
        UserError: names the option, what came, and what is expected.
    """
    if request.epochs is not None and request.epochs < 1:
        raise UserError(f"--epochs must be at least 1; got {request.epochs}.")
    if request.imbalance is not None and not 1 <= request.imbalance < math.inf:
        raise UserError(f"--imbalance is n_max / n_min and cannot be below 1; got {request.imbalance:g}.")
    if request.val is not None and not 0 <= request.val < 1:
        raise UserError(f"--val is a share of the training images, at least 0 and below 1; got {request.val:g}.")
    if request.seed < 0 or request.split_seed < 0:
        raise UserError("--seed and --split-seed must not be negative.")
    if request.protocol not in ("clean", "paper"):
        raise UserError(unknown("protocol", request.protocol, ["clean", "paper"]))
    if request.jobs is not None and request.jobs < 1:
        raise UserError(f"--jobs must be at least 1; got {request.jobs}.")
    if request.budget not in ("paper", "common"):
        raise UserError(unknown("budget", request.budget, ["paper", "common"]))
    if request.groups not in GROUP_RULES:
        raise UserError(unknown("group rule", request.groups, list(GROUP_RULES)))
    if request.pretrained and request.weights is not None:
        raise UserError("--pretrained and --weights both say where to start from; give one of them.")
    if str(request.data) in settings.NAMED:
        _check_named(request)
    if request.size is not None and request.size < 8:
        raise UserError(f"--size must be at least 8 pixels; got {request.size}.")


def _check_named(request: Request) -> None:
    folders_only = {"--split": request.split, "--size": request.size, "--skip-corrupt": request.skip_corrupt}
    for option, value in folders_only.items():
        if value:
            raise UserError(f"{option} is for folders and CSVs; '{request.data}' has its own.")
    takes = parameters_of(settings.NAMED[str(request.data)])
    if request.imbalance is not None and "imbalance" not in takes:
        raise UserError(f"'{request.data}' has the long tail that was published and takes no --imbalance; leave it out.")
    if request.pretrained and request.backbone is None and "pretrained" not in takes:
        raise UserError("--pretrained needs --backbone NAME, one of timm's models: there are no weights for the setting's own.")


def chosen_recipe(request: Request, setting: Setting) -> Recipe:
    """The recipe that the request names, with its variants and changes.

    Raises:
        UserError: a name is misspelled; the sentence lists what exists.
    """
    function = recipe_function(request.method)
    known = {name: value for name, value in parameters_of(function).items() if name != "setting"}
    for name in request.variants:
        if name not in known:
            raise UserError(unknown(f"variant of {request.method}", name, list(known) or ["none"]))
    variants = {name: checked(_value(text, known[name]), known[name], name) for name, text in request.variants.items()}
    for name, value in variants.items():
        choices_of = get_args(get_type_hints(function).get(name))
        if get_origin(get_type_hints(function).get(name)) is Literal and value not in choices_of:
            raise UserError(unknown(name, str(value), list(choices_of)))
    recipe: Recipe = function(setting, **variants)
    if request.epochs is not None:
        recipe = with_epochs(recipe, request.epochs)
    for path, text in request.changes.items():
        recipe = change(recipe, path, _value(text, look_up(recipe, path)))
    return recipe


def recipe_function(method: str) -> Callable[..., Recipe]:
    """A recipe's function by its name, or from `file.py:function`.

    Raises:
        UserError: there is no such recipe, file or function.
    """
    if ".py:" in method:
        return _from_file(*method.rsplit(":", 1))
    known = {function.__name__: function for function in recipes.ALL}
    if method not in known:
        raise UserError(unknown("method", method, sorted(known)))
    return known[method]


def _value(value: Any, current: Any) -> Any:
    return parse_value(value, current) if isinstance(value, str) else value


def _from_file(path: str, name: str) -> Callable[..., Recipe]:
    file = Path(path)
    if not file.exists():
        raise UserError(f"There is no file '{path}'; give the recipe as path/to/file.py:function.")
    name_of_module = file.stem if file.stem not in sys.modules else f"recipes_of_{file.stem}"
    spec = importlib.util.spec_from_file_location(name_of_module, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name_of_module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    functions: Sequence[str] = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    if name not in functions:
        raise UserError(unknown(f"function in {path}", name, list(functions) or ["none"]))
    function: Callable[..., Recipe] = getattr(module, name)
    return function
