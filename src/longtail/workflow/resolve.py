"""Checks a request, and turns it into a setting and a recipe. Of images, only file names and some sizes are read."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from longtail import recipes, settings
from longtail.data.augmentation import check_augmentation
from longtail.data.checking import CHECKS
from longtail.data.listing import holds_images
from longtail.data.priors import read_prior
from longtail.data.splits import Data
from longtail.data.squares import Fit
from longtail.data.symmetry import check_views
from longtail.engine.variants import variants_of
from longtail.errors import UserError, WrongTypeError
from longtail.results import GROUP_RULES
from longtail.spec.description import change, checked, look_up, parameters_of, unknown
from longtail.spec.own_code import OwnFile, file_of, in_use, is_own, own_function
from longtail.spec.parsing import parse_value
from longtail.spec.recipe import Recipe, Setting, with_augmentation, with_epochs
from longtail.workflow.choices import choose
from longtail.workflow.request import AUTO, Request
from longtail.workflow.values import plain


def check(request: Request) -> None:
    """Checks the values of the options.

    Raises:
        UserError: a value is not allowed; the message names the option, the value, and what is expected.
    """
    _check_types(request)
    if not str(request.data).strip():
        raise UserError("`data` is empty; give a folder of images, a CSV, or the name of a setting.")
    if request.epochs is not None and request.epochs < 1:
        raise UserError(f"`epochs` must be at least 1; got {request.epochs}.")
    if request.imbalance is not None and not 1 <= request.imbalance < math.inf:
        raise UserError(f"`imbalance` is n_max / n_min, a finite number of at least 1; got {request.imbalance:g}.")
    if request.val is not None and not 0 <= request.val < 1:
        raise UserError(f"`val` is a share of the training images, at least 0 and below 1; got {request.val:g}.")
    if request.seed < 0 or request.split_seed < 0:
        raise UserError("`seed` and `split_seed` must not be negative.")
    if request.jobs is not None and request.jobs < 1:
        raise UserError(f"`jobs` must be at least 1; got {request.jobs}.")
    if request.devices < 1:
        raise UserError(f"`devices` must be at least 1; got {request.devices}.")
    if request.max_pixels is not None and request.max_pixels < 1:
        raise UserError(f"`max_pixels` must be at least 1; got {request.max_pixels}.")
    if request.size is not None and request.size < 8:
        raise UserError(f"`size` must be at least 8 pixels; got {request.size}.")
    if request.pretrained and request.weights is not None:
        raise UserError("`pretrained` and `weights` both set the initial weights; give one of them.")
    known: dict[str, list[str]] = {
        "protocol": ["clean", "paper"],
        "budget": ["paper", "common", "common-128", "fine-tuning"],
        "groups": list(GROUP_RULES),
        "check": [*CHECKS],
    }
    for name, values in known.items():
        value = getattr(request, name)
        if value not in values and not (value is None and name in ("budget", "check")):
            raise UserError(unknown({"groups": "group rule"}.get(name, name), value, values))
    if request.method != AUTO:
        _refuse_options_of_auto(request)
        _check_prior(request)
    check_augmentation(request.augment, request.symmetry)
    variants_of(request.fast, device="")
    if request.fit is not None and request.fit not in get_args(Fit):
        raise UserError(unknown("fit", request.fit, list(get_args(Fit))))
    if request.views is not None:
        check_views(request.views)
    takes = parameters_of(setting_function(str(request.data))) if has_own_data(request) else {}
    if request.fit is not None and "fit" not in takes:
        raise UserError(f"`fit` is for settings of published lists, such as imagenet_lt; leave it out for '{request.data}'.")
    if has_own_data(request):
        _check_named(request, takes)


def _refuse_options_of_auto(request: Request) -> None:
    given = {
        "candidates": request.candidates is not None,
        "folds": request.folds != 1,
        "refit=False": not request.refit,
    }
    for name in (name for name, asked in given.items() if asked):
        raise UserError(f"`{name}` is for the choice among methods (`method=auto`), and here the method is '{request.method}'.")


def _check_prior(request: Request) -> None:
    """Refuses class frequencies in use for a method whose rule takes none, and those that a variant gives as well."""
    if request.prior is None:
        return
    if "target" not in parameters_of(recipe_function(request.method)):
        raise UserError(
            f"`prior` is for auto and for methods with a rule that takes class frequencies in use (logit_adjusted_post_hoc, "
            f"logit_adjusted); '{request.method}' has none. Leave it out here, and give it to `longtail evaluate` and `predict`, "
            f"which adjust the scores of a finished run."
        )
    if "target" in request.variants:
        raise UserError("`prior` and the variant target both set the class frequencies in use; give one of them.")


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


def _check_types(request: Request) -> None:
    """Refuses values of another type than their option's; a whole number is a float, too, and a truth value is no number."""
    for name, hint in get_type_hints(Request).items():
        value = getattr(request, name)
        kinds = get_args(hint) if get_origin(hint) is UnionType else (get_origin(hint) or hint,)
        number = isinstance(value, int) and not isinstance(value, bool) and float in kinds
        if not number and not (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))):
            expected = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
            raise WrongTypeError(f"`{name}` must be {expected}; got {value!r} ({type(value).__name__}).")


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


def _check_named(request: Request, takes: Mapping[str, Any]) -> None:
    for name in ("split", "size", "skip_corrupt", "outside", "check"):
        if getattr(request, name):
            raise UserError(f"`{name}` is for folders and CSVs; leave it out for the setting '{request.data}'.")
    if request.imbalance is not None and "imbalance" not in takes:
        raise UserError(f"'{request.data}' has the long tail that was published and takes no `imbalance`; leave it out.")
    if request.budget == "fine-tuning" and request.weights is None and not request.pretrained:
        raise UserError(
            "`budget=fine-tuning` is for pretrained weights; give `weights=FILE`, or `pretrained` with `backbone=NAME`."
        )
    if request.pretrained and request.backbone is None and "pretrained" not in takes:
        raise UserError(
            "`pretrained` needs `backbone=NAME`, one of timm's models: there are no weights for the setting's own backbone."
        )


def chosen_setting(request: Request) -> tuple[Setting, Path, str]:
    """The setting that the request names, or one chosen for its folder; the path of the data; what was chosen, in lines."""
    name = str(request.data)
    if has_own_data(request):
        return _named(request), request.data_root, ""
    path = Path(request.data)
    if not path.exists() and path.parent == Path() and not path.suffix:
        raise UserError(unknown("setting or folder", name, [*settings.NAMED, "a folder", "a CSV"]))
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
    if method not in known:
        raise UserError(unknown("method", method, sorted(known)))
    return known[method]


def _value(value: Any, current: Any) -> Any:
    return parse_value(value, current) if isinstance(value, str) else plain(value)
