"""The ways in which `auto` reads a trained network, under the names of candidates, which need not be those of methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from longtail.workflow.request import Request


@dataclass(frozen=True)
class Reading:
    """One way to read a trained network: a recipe with its inference rule.

    Args:
        name: name for tables and sentences.
        method: name of the recipe.
        keyword: variant of the recipe that holds the strength of the adjustment; "" where nothing is chosen.
        usual: strength that theory gives.
        grid: strengths to choose among, on validation images.
        targets: whether the recipe takes class frequencies in use, whose log is added to its scores.
    """

    name: str
    method: str
    keyword: str = ""
    usual: float = 0.0
    grid: tuple[float, ...] = ()
    targets: bool = False

    def asked(self, request: Request, tau: float | None = None, target: tuple[float, ...] | None = None) -> Request:
        """The request for the recipe, with a strength and with class frequencies in use where the recipe takes them."""
        variants = {self.keyword: self.usual if tau is None else tau} if self.keyword else {}
        if self.targets and target is not None:
            variants |= {"target": target}  # type: ignore[dict-item]
        return replace(request, method=self.method, variants=variants, prior=None)


def _grid(low: int, high: int) -> tuple[float, ...]:
    return tuple(step / 10 for step in range(low, high + 1))


READINGS: Mapping[str, tuple[Reading, ...]] = {
    "ce": (
        Reading("cross-entropy", "ce"),
        Reading("post hoc logit adjustment", "logit_adjusted_post_hoc", "tau", 1.0, _grid(0, 20), targets=True),
        Reading("re-trained classifier", "ce_retrained", targets=True),
    ),
    "la": (Reading("logit-adjusted loss", "logit_adjusted", "residual", 0.0, _grid(-10, 10), targets=True),),
    "gcl": (Reading("GCL", "gcl", targets=True),),
    "gala": (Reading("GALA", "gala", targets=True),),
    "balpoe": (Reading("three experts", "balpoe", targets=True),),
    "tau_norm": (Reading("tau-normalisation", "tau_norm", "tau", 1.0, _grid(0, 20)),),
}
