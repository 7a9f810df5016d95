"""Turns a request into a setting and a recipe. Of images, only file names and some sizes are read."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from longtail import recipes, settings
from longtail.data.listing import holds_images
from longtail.data.priors import read_prior
from longtail.data.splits import Data
from longtail.errors import UserError, WrongTypeError
from longtail.spec.changing import change, checked, look_up
from longtail.spec.description import parameters_of
from longtail.spec.own_code import OwnFile, file_of, in_use, is_own, own_function
from longtail.spec.parsing import parse_value
from longtail.spec.recipe import Recipe, Setting, with_augmentation, with_epochs
from longtail.text import did_you_mean, unknown
from longtail.workflow.choices import choose
from longtail.workflow.readings import READINGS
from longtail.workflow.request import AUTO, Request
from longtail.workflow.values import plain


def for_prior(request: Request, data: Data) -> Request:
    """The request with the class frequencies of its prior as the target of the method's rule; equal ones need none.

    Raises:
        UserError: there is no such prior.
    """
    if request.prior is None:
        return request
    shares = read_prior(request.prior, data.classes, data.class_counts)
    target = None if request.prior == "uniform" else tuple(shares.tolist())
    return replace(request, prior=None, variants={**request.variants, "target": target})


def has_own_data(request: Request) -> bool:
    """Whether the request names a setting, which has data of its own, and not a folder or a CSV."""
    named = isinstance(request.data, str) and request.data in settings.NAMED
    return (named and not _hidden_by_folder(request)) or is_own(str(request.data))


def _hidden_by_folder(request: Request) -> bool:
    """Whether a folder of images has the name of the setting; `root`, which folders have no use for, asks for the setting."""
    asked = request.root is not None or request.download
    return not asked and Path(request.data).is_dir() and holds_images(Path(request.data))


def own_paths(request: Request) -> list[Path]:
    """Paths of the user's own code that the request runs: those of its method and of its data."""
    named = (str(text) for text in (request.method, request.data) if is_own(str(text)))
    return list(dict.fromkeys(file_of(text) for text in named))


def own_files(request: Request) -> list[OwnFile]:
    """The user's own code that the request runs, with the content in use."""
    return [in_use(path) for path in own_paths(request)]


def setting_function(name: str) -> Callable[..., Setting]:
    """Returns the function that builds a setting, given its name or `file.py:function`."""
    return own_function(name) if is_own(name) else settings.NAMED[name]


def chosen_setting(request: Request) -> tuple[Setting, Path, str]:
    """The setting that the request names, or one chosen for its folder; the path of the data; what was chosen, in lines."""
    name = str(request.data)
    if has_own_data(request):
        return _named(request), request.data_root, ""
    path = Path(request.data)
    if not path.exists() and path.parent == Path() and not path.suffix:
        here = os.listdir() if os.access(".", os.R_OK) else []
        guess = did_you_mean(name, [*settings.NAMED, *here])
        raise UserError(
            f"There is no setting or folder '{name}'.{guess} There are: {', '.join(settings.NAMED)}, a folder, a CSV."
        )
    choice = choose(request, path)
    also = f"'{name}' is a folder of images here, which is taken; for the setting of that name give `root=DIR`."
    notes = (*choice.notes, *([also] if name in settings.NAMED and isinstance(request.data, str) else []))
    return replace(choice.setting, views=request.views or 1), path, "\n".join((choice.sentence, *notes))


def _named(request: Request) -> Setting:
    function = setting_function(str(request.data))
    takes = parameters_of(function)
    options: dict[str, Any] = {"split_seed": request.split_seed} if "split_seed" in takes else {}
    given = {name: getattr(request, name) for name in ("imbalance", "fit")}
    if "backbone" in takes:
        given["backbone"] = request.backbone
    options |= {name: value for name, value in given.items() if value is not None}
    if "pretrained" in takes:
        usual = takes["pretrained"] and request.backbone is None
        options["pretrained"] = request.weights is None and (usual if request.pretrained is None else request.pretrained)
    _check_call(str(request.data), function, **options)
    setting = function(**options)
    if not isinstance(setting, Setting):
        raise WrongTypeError(f"'{request.data}' must return a Setting; got {type(setting).__name__}.")
    if request.epochs is not None:
        setting = replace(setting, epochs=request.epochs)
    if request.backbone is not None and "backbone" not in takes:
        setting = replace(setting, backbone=settings.named_backbone(request.backbone, pretrained=bool(request.pretrained)))
    asked = with_augmentation(setting, request.augment, request.symmetry)
    return replace(asked, budget=request.budget or "paper", views=request.views or 1)


def chosen_recipe(request: Request, setting: Setting) -> Recipe:
    """The recipe that the request names, with its variants and changes.

    Raises:
        UserError: a name is unknown; the message lists the names that exist.
    """
    function = recipe_function(request.method)
    variants = _variants(request, function)
    _check_call(request.method, function, setting, **variants)
    recipe = function(setting, **variants)
    if not isinstance(recipe, Recipe):
        raise WrongTypeError(f"'{request.method}' must return a Recipe; got {type(recipe).__name__}.")
    if request.epochs is not None:
        recipe = with_epochs(recipe, request.epochs)
    for path, text in request.changes.items():
        recipe = change(recipe, path, _value(text, look_up(recipe, path)))
    return recipe


def _check_call(name: str, function: Callable[..., Any], *given: Any, **keywords: Any) -> None:
    """Refuses a function of the user's own that cannot be called as recipes and settings are."""
    try:
        inspect.signature(function).bind(*given, **keywords)
    except (TypeError, ValueError) as error:
        wanted = "a setting first" if given else "no argument but keywords with defaults"
        raise UserError(f"'{name}' cannot be called ({error}); a function for it takes {wanted}.") from error


def _variants(request: Request, function: Callable[..., Recipe]) -> dict[str, Any]:
    """Keywords for the recipe's function that the request gives, checked against its signature."""
    known = {name: value for name, value in parameters_of(function).items() if name != "setting"}
    for name in request.variants:
        if name not in known:
            raise UserError(unknown(f"variant of {request.method}", name, list(known) or ["none"]))
    variants = {name: checked(_value(text, known[name]), known[name], name) for name, text in request.variants.items()}
    hints = get_type_hints(function)
    for name, value in variants.items():
        if get_origin(hints.get(name)) is Literal and value not in get_args(hints[name]):
            raise UserError(unknown(name, str(value), list(get_args(hints[name]))))
    return variants


def recipe_function(method: str) -> Callable[..., Recipe]:
    """Returns the function that builds a recipe, given its name or `file.py:function`.

    Raises:
        UserError: there is no such recipe, file or function.
    """
    if is_own(method):
        return own_function(method)
    if method == AUTO:
        raise UserError("'auto' chooses among methods and is none itself; name one of them, such as ce.")
    known = {function.__name__: function for function in recipes.ALL}
    if method not in known and method in READINGS:
        raise UserError(f"There is no method '{method}'; as a candidate it is '{READINGS[method][0].method}'.")
    if method not in known:
        raise UserError(unknown("method", method, sorted(known)))
    return known[method]


def _value(value: Any, current: Any) -> Any:
    return parse_value(value, current) if isinstance(value, str) else plain(value)
