"""longtail: train and evaluate image classifiers on data in which few classes have most of the images.

`longtail.train("photos/", method="gcl")` trains, `longtail.load("runs/...").predict("a.jpg")` uses what was trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail.reporting.writing import write_report_page
    from longtail.runs.serving import load
    from longtail.workflow.train import train

__version__ = "0.1.0"
__all__ = ["load", "train", "write_report_page"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from longtail.workflow.train import train

        return train
    if name == "load":
        from longtail.runs.serving import load

        return load
    if name == "write_report_page":
        from longtail.reporting.writing import write_report_page

        return write_report_page
    raise AttributeError(f"module 'longtail' has no attribute '{name}'; it has {', '.join(__all__)} and its submodules.")
