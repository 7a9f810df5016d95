"""longtail: train and evaluate image classifiers on data in which few classes have most of the images.

`longtail.train("photos/", method="gcl")` trains, `longtail.load("runs/...").predict("a.jpg")` uses what was trained,
`longtail.compare("runs/...", "runs/...")` says which of two is better and how surely, and `longtail.tune("runs/...", "photos/")`
chooses the strength of a run's rule and the temperature of its probabilities on validation images.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail.reporting.writing import write_report_page
    from longtail.runs.comparison import compare
    from longtail.runs.serving import load
    from longtail.workflow.train import train
    from longtail.workflow.tuning import tune, untune

__version__ = "0.1.0"
__all__ = ["compare", "load", "train", "tune", "untune", "write_report_page"]
PLACES = {
    "compare": "longtail.runs.comparison",
    "load": "longtail.runs.serving",
    "train": "longtail.workflow.train",
    "tune": "longtail.workflow.tuning",
    "untune": "longtail.workflow.tuning",
    "write_report_page": "longtail.reporting.writing",
}


def __getattr__(name: str) -> Any:
    """A function of `__all__`, whose module is imported when it is first asked for: `import longtail` alone stays quick."""
    if name in PLACES:
        return getattr(import_module(PLACES[name]), name)
    raise AttributeError(f"module 'longtail' has no attribute '{name}'; it has {', '.join(__all__)} and its submodules.")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
