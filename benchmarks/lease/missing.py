"""The runs that the fair table lacks, one chain a line, the cheapest cells first.

    python benchmarks/lease/missing.py [--setting cifar100_lt] [--budget common-128] [--seeds 3] > jobs.txt

The fair table has every method on one setting, at one budget, for the same number of epochs. Methods whose first stage is the
same stand in one line, one behind the other, so that the stage is trained once.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from longtail import recipes, settings
from longtail.runs.results_file import StoredResult, results_in
from longtail.spec.cost import stage_costs
from longtail.spec.description import digest
from longtail.spec.recipe import Recipe, Setting

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--setting", default="cifar100_lt")
    options.add_argument("--budget", default="common-128")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--results", type=Path, nargs="*", default=sorted(RESULTS.glob("*.jsonl")))
    asked = options.parse_args()
    setting = replace(settings.NAMED[asked.setting](), budget=asked.budget)
    for line in chains(setting, asked.seeds, results_in(asked.results)):
        print(line)


def chains(setting: Setting, seeds: int, results: Iterable[StoredResult]) -> list[str]:
    """Lines "a ; b ; c" of what `longtail train` takes, without those that are measured."""
    done = {(each.report.method, each.report.seed) for each in results if is_of(each, setting)}
    built = [build(setting) for build in recipes.ALL]
    costs = {recipe.name: stage_costs(recipe, setting) for recipe in built}
    found: list[tuple[int, float, str]] = []
    for seed in range(seeds):
        together: dict[str, list[Recipe]] = {}
        for recipe in (each for each in built if (each.name, seed) not in done):
            together.setdefault(first_stage_of(recipe), []).append(recipe)
        for chain in together.values():
            cost = cost_of_each([costs[recipe.name] for recipe in chain])
            found.append((seed, cost, line_of(chain, setting, seed)))
    return [line for _, _, line in sorted(found)]


def is_of(result: StoredResult, setting: Setting) -> bool:
    """Whether a result was measured on the setting, at its budget, for its epochs and with its own augmentation."""
    own, stages = result.record["setting"], result.report.stages
    asked = own.get("augmentation"), own.get("symmetry")
    measured = (own.get("name"), result.report.budget, stages[0].epochs, *asked)
    return measured == (setting.name, setting.budget, setting.epochs, setting.augmentation, setting.symmetry)


def first_stage_of(recipe: Recipe) -> str:
    """A name for what the first stage is, with the network that it trains."""
    return digest(recipe.head, recipe.backbone_wrapper, recipe.projection, recipe.stages[0])


def cost_of_each(costs: list[list[float]]) -> float:
    """Arithmetic of a chain, whose first stage counts once, by the number of its cells; given that of each one's stages."""
    return (costs[0][0] + sum(sum(own[1:]) for own in costs)) / len(costs)


def line_of(chain: list[Recipe], setting: Setting, seed: int) -> str:
    """The runs of a chain as `longtail train` takes them."""
    return " ; ".join(f"{setting.name} --budget {setting.budget} --seed {seed} --method {recipe.name}" for recipe in chain)


if __name__ == "__main__":
    main()
