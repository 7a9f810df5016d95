"""Lists methods, settings and backbones."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from longtail.cli.show import console, say, text
from longtail.cli.tables import grid
from longtail.errors import UserError
from longtail.results import counted

if TYPE_CHECKING:
    from longtail.spec.recipe import Recipe


def run_list(what: str, *, as_json: bool) -> None:
    """Prints methods, settings or backbones."""
    from longtail.text import unknown

    listers = {"methods": _methods, "settings": _settings, "backbones": _backbones}
    if what not in listers:
        raise UserError(unknown("list", what, list(listers)))
    rows = listers[what]()
    if as_json:
        console.print_json(json.dumps(rows), ensure_ascii=True)
        return
    if what == "methods":
        _print_methods(rows)
        return
    table = grid(what, names=tuple(rows[0]))
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*map(text, row.values()))
    say(table)
    say("Next: longtail train DATA")


def _print_methods(rows: list[dict[str, Any]]) -> None:
    """Three paragraphs per method: its name with numbers and source, what it does, and its parts; lines end between words."""
    for row in rows:
        numbers = (counted(row["stages"], "stage"), f"{row['parameters']} parameters", f"cost {row['cost']}")
        say(_wrapped(" · ".join((row["name"], *numbers, row["source"].partition(";")[0]))))
        say(_wrapped(row["what"], "    "))
        say(_wrapped(_parts(row), "    "))
    say("\nparameters: those of the network up to its features, on cifar100_lt (ResNet-32).")
    say("cost: arithmetic of the training at the common budget, where cross-entropy's is 1.")
    say("parts: those that differ from training with cross-entropy. Variants of each method: --json.")
    say("Next: longtail train DATA --method NAME")


def _wrapped(paragraph: str, indent: str = "") -> str:
    """The paragraph in lines that end between words and fit the terminal."""
    return textwrap.fill(text(paragraph), console.width, initial_indent=indent, subsequent_indent="    ", break_on_hyphens=False)


def _methods() -> list[dict[str, Any]]:
    from longtail import recipes
    from longtail.settings import cifar100_lt
    from longtail.spec.cost import stage_sizes, training_cost
    from longtail.spec.description import parameters_of

    setting = replace(cifar100_lt(), budget="common")
    usual = training_cost(recipes.ce(setting), setting)
    rows = []
    for function in recipes.ALL:
        recipe = function(setting)
        rows.append(
            {
                "name": recipe.name,
                "year": recipe.year or "–",
                "what": (inspect.getdoc(function) or "").splitlines()[0],
                "stages": len(recipe.stages),
                **_changes(recipe),
                "parameters": f"{stage_sizes(recipe, setting)[-1].parameters / 1e6:.2f} M",
                "cost": f"{training_cost(recipe, setting) / usual:.2f}",
                "variants": ", ".join(parameters_of(function)) or "–",
                "source": recipe.source,
                "departures": list(recipe.all_departures),
            }
        )
    return rows


def _changes(recipe: Recipe) -> dict[str, str]:
    """Parts that differ from plain training: loss, draw and weights, head and network, inference."""
    stages = recipe.stages
    losses = [part for stage in stages for part in (stage.loss, stage.feature_loss, stage.step) if part is not None]
    draws = [rule for stage in stages for rule in (stage.resample, stage.companion, stage.reweight) if rule is not None]
    wrappers = [part for stage in stages for part in (stage.head, stage.backbone_wrapper) if callable(part)]
    networks: list[Any] = [
        part for part in (recipe.head, recipe.backbone_wrapper, recipe.projection, *wrappers) if part is not None
    ]
    networks += ["reset" for stage in stages if stage.head == "reset"]
    return {
        "loss": _named(losses, {"CrossEntropyLoss", "classify"}),
        "draw, weights": _named(draws, {"uniform"}),
        "head": _named(networks, {"LinearHead"}),
        "inference": _named([recipe.inference], {"as_trained"}),
    }


def _parts(row: dict[str, Any]) -> str:
    """The parts of a method that differ from plain training, in one line."""
    named = (row[part] for part in ("loss", "draw, weights", "head", "inference"))
    return f"parts: {', '.join(part for part in named if part != '–') or 'those of plain training'}"


def _named(parts: Sequence[Any], usual: set[str]) -> str:
    names = dict.fromkeys(part if isinstance(part, str) else getattr(part, "func", part).__name__ for part in parts)
    return ", ".join(name for name in names if name not in usual) or "–"


def _settings() -> list[dict[str, Any]]:
    from longtail.settings import NAMED

    return [{"name": name, "what": (inspect.getdoc(function) or "").splitlines()[0]} for name, function in NAMED.items()]


def _backbones() -> list[dict[str, Any]]:
    import timm

    from longtail.networks.timm_backbone import OTHERS
    from longtail.settings import CIFAR_RESNETS

    own = [{"name": name, "from": "CIFAR ResNet"} for name in CIFAR_RESNETS]
    own += [{"name": name, "from": "timm's blocks"} for name in OTHERS]
    return [*own, *({"name": name, "from": "timm"} for name in timm.list_models())]
