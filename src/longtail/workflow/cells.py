"""The experiment of a published cell: the request that trains it, its setting and its recipe."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from longtail.papers import NAMES, Cell, read_table
from longtail.papers.identities import BUDGETS, FILE, key_of
from longtail.runs.measured import identity_of
from longtail.runs.seals import plain
from longtail.spec.description import describe
from longtail.spec.recipe import Recipe, Setting
from longtail.workflow.request import Request, request_of
from longtail.workflow.resolve import chosen_recipe, chosen_setting


@dataclass(frozen=True)
class Cells:
    """Experiments of published cells, under the options that a user gives for all of them.

    Args:
        base: the options; its data, method, variants, changes and imbalance are those of each cell instead.
    """

    base: Request

    def request(self, cell: Cell, *, seed: int = 0) -> Request:
        """The request that trains the cell at one seed."""
        return request_of(cell, self.base, seed=seed)

    def setting(self, cell: Cell) -> Setting:
        """The setting of the cell."""
        return chosen_setting(self.request(cell))[0]

    def recipe(self, cell: Cell) -> Recipe:
        """The recipe of the cell."""
        return chosen_recipe(self.request(cell), self.setting(cell))

    def identify(self, cell: Cell, budget: str, largest_batch: int | None) -> str:
        """The identity of the cell's experiment at a budget (`measured_of`)."""
        request = replace(self.request(cell), budget=budget, epochs=None)
        setting = replace(chosen_setting(request)[0], largest_batch=largest_batch)
        return identity_of(*(json.loads(json.dumps(plain(describe(it)))) for it in (chosen_recipe(request, setting), setting)))


def identities() -> dict[str, dict[str, dict[str, str]]]:
    """The identities of all published cells of the package, at the budgets that they are stored for."""
    cells, found = Cells(Request("")), dict[str, dict[str, dict[str, str]]]()
    for cell in (cell for name in NAMES for cell in read_table(name).cells):
        own = {budget: cells.identify(cell, budget, None) for budget in BUDGETS}
        found.setdefault(cell.table, {})[key_of(cell)] = own
    return found


def write_identities() -> None:
    """Writes the stored identities of the package's published cells."""
    FILE.write_text(json.dumps(identities(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
