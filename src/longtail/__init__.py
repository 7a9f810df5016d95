"""longtail: train and evaluate image classifiers on data in which few classes have most of the images.

`longtail.train("photos/", method="gcl")` trains, `longtail.load("runs/...").predict("a.jpg")` uses what was trained,
`longtail.compare("runs/...", "runs/...")` says which of two is better and how surely, and `longtail.tune("runs/...", "photos/")`
chooses the strength of a run's rule and the temperature of its probabilities on validation images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail.reporting.writing import write_report_page
    from longtail.runs.comparison import compare
    from longtail.runs.serving import load
    from longtail.workflow.train import train
    from longtail.workflow.tuning import tune

__version__ = "0.1.0"
__all__ = ["compare", "load", "train", "tune", "write_report_page"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from longtail.workflow.train import train

        return train
    if name == "load":
        from longtail.runs.serving import load

        return load
    if name == "compare":
        from longtail.runs.comparison import compare

        return compare
    if name == "tune":
        from longtail.workflow.tuning import tune

        return tune
    if name == "write_report_page":
        from longtail.reporting.writing import write_report_page

        return write_report_page
    raise AttributeError(f"module 'longtail' has no attribute '{name}'; it has {', '.join(__all__)} and its submodules.")
