"""Checks the values of a request's options before anything is read or trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from longtail import recipes
from longtail.data.augmentation import check_augmentation
from longtail.data.checking import CHECKS
from longtail.data.squares import Fit
from longtail.data.symmetry import check_views
from longtail.engine.variants import variants_of
from longtail.errors import UserError, WrongTypeError
from longtail.results import GROUP_RULES
from longtail.spec.description import parameters_of
from longtail.text import unknown
from longtail.workflow.candidates import readings_of
from longtail.workflow.request import AUTO, Request
from longtail.workflow.resolve import has_own_data, recipe_function, setting_function

LEAST = {"epochs": 1, "jobs": 1, "devices": 1, "max_pixels": 1}
KNOWN: Mapping[str, tuple[str, ...]] = {
    "protocol": ("clean", "paper"),
    "together": ("none", "branches", "stacked"),
    "budget": ("paper", "common", "common-128", "fine-tuning"),
    "groups": tuple(GROUP_RULES),
    "check": tuple(CHECKS),
    "fit": get_args(Fit),
}


def check(request: Request) -> None:
    """Checks the values of the options.

    Raises:
        UserError: a value is not allowed; the message names the option, the value, and what is expected.
    """
    _check_types(request)
    if not str(request.data).strip():
        raise UserError("`data` is empty; give a folder of images, a CSV, or the name of a setting.")
    _check_numbers(request)
    if request.pretrained and request.weights is not None:
        raise UserError("`pretrained` and `weights` both set the initial weights; give one of them.")
    for name, values in KNOWN.items():
        value = getattr(request, name)
        if value is not None and value not in values:
            raise UserError(
                unknown({"groups": "group rule", "together": "way to go together"}.get(name, name), value, list(values))
            )
    if request.method != AUTO:
        _refuse_options_of_auto(request)
        _check_prior(request)
    elif request.candidates is not None:
        readings_of(request.candidates)
    _check_together(request)
    check_augmentation(request.augment, request.symmetry)
    variants_of(request.fast, device="")
    if request.views is not None:
        check_views(request.views)
    _check_for_data(request)


def _check_numbers(request: Request) -> None:
    for name, least in LEAST.items():
        value = getattr(request, name)
        if value is not None and value < least:
            raise UserError(f"`{name}` must be at least {least}; got {value}.")
    if request.size is not None and request.size < 8:
        raise UserError(f"`size` must be at least 8 pixels; got {request.size}.")
    if request.imbalance is not None and not 1 <= request.imbalance < math.inf:
        raise UserError(f"`imbalance` is n_max / n_min, a finite number of at least 1; got {request.imbalance:g}.")
    if request.val is not None and not 0 <= request.val < 1:
        raise UserError(f"`val` is a share of the training images, at least 0 and below 1; got {request.val:g}.")
    if request.seed < 0 or request.split_seed < 0:
        raise UserError("`seed` and `split_seed` must not be negative.")


def _check_types(request: Request) -> None:
    """Refuses values of another type than their option's; a whole number is a float, too, and a truth value is no number."""
    for name, hint in get_type_hints(Request).items():
        value = getattr(request, name)
        kinds = get_args(hint) if get_origin(hint) is UnionType else (get_origin(hint) or hint,)
        number = isinstance(value, int) and not isinstance(value, bool) and float in kinds
        if not number and not (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))):
            expected = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
            raise WrongTypeError(f"`{name}` must be {expected}; got {value!r} ({type(value).__name__}).")


def _refuse_options_of_auto(request: Request) -> None:
    given = {
        "candidates": request.candidates is not None,
        "folds": request.folds != 1,
        "refit=False": not request.refit,
    }
    for name in (name for name, asked in given.items() if asked):
        raise UserError(f"`{name}` is for the choice among methods (`method=auto`), and here the method is '{request.method}'.")


def _check_together(request: Request) -> None:
    """Refuses what runs whose steps are taken together cannot do."""
    if request.together != "none" and request.method == AUTO:
        raise UserError("`together` is for runs whose method is known; name it with `method`, or leave `together` out.")
    if request.together != "stacked":
        return
    if request.fast != "none":
        raise UserError(
            "`together=stacked` computes networks in a way of its own; leave out `fast`, or take `together=branches`."
        )
    if request.deterministic:
        raise UserError(
            "`deterministic` promises the bits of a run alone, which `together=stacked` does not give; take `together=branches`."
        )


def _check_prior(request: Request) -> None:
    """Refuses class frequencies in use for a method whose rule takes none, and those that a variant gives as well."""
    if request.prior is None:
        return
    if "target" not in parameters_of(recipe_function(request.method)):
        raise UserError(
            f"`prior` is for auto and for methods that take class frequencies in use ({', '.join(taking_frequencies())}); "
            f"'{request.method}' takes none. Leave it out here, and give it to `longtail evaluate` and `predict`, which adjust "
            f"the scores of a finished run."
        )
    if "target" in request.variants:
        raise UserError("`prior` and the variant target both set the class frequencies in use; give one of them.")


def taking_frequencies() -> list[str]:
    """Names of the methods that take class frequencies in use."""
    return [build.__name__ for build in recipes.ALL if "target" in parameters_of(build)]


def _check_for_data(request: Request) -> None:
    """Refuses options that the data, a setting or a folder, have no use for."""
    own = has_own_data(request)
    takes = parameters_of(setting_function(str(request.data))) if own else {}
    if request.fit is not None and "fit" not in takes:
        raise UserError(f"`fit` is for settings of published lists, such as imagenet_lt; leave it out for '{request.data}'.")
    if request.split is not None and request.imbalance is not None:
        raise UserError("A split is used as it is, so that `imbalance` cuts nothing; leave `imbalance` or `split` out.")
    if own:
        _check_named(request, takes)
    elif Path(request.data).exists():
        for name in (name for name in ("root", "download") if getattr(request, name)):
            raise UserError(f"`{name}` is for the data of named settings; leave it out for '{request.data}'.")


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
