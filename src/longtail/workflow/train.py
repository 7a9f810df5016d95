"""`longtail.train`: training from Python, with the options of the command line."""

from __future__ import annotations

import inspect
from pathlib import Path
from threading import RLock
from typing import Any

from longtail.errors import WrongTypeError
from longtail.text import unknown
from longtail.turns import first_alone
from longtail.workflow.auto import choose_method
from longtail.workflow.one_run import Result, prepared, train_one
from longtail.workflow.request import AUTO, Request, documented, signature
from longtail.workflow.several import together
from longtail.workflow.watcher import Silent, Watcher

OF_SEVERAL = ("jobs", "together")  # options of several runs, which the command line trains
_ONE_AT_A_TIME = RLock()  # torch has one global source of random numbers, by which two trainings would change each other


def train(data: str | Path, *, method: str = AUTO, watcher: Watcher | None = None, **options: Any) -> Result:
    """Trains on a folder, a CSV or a named setting, and returns the finished run: of one method, or of the one that auto chose.

    `longtail.train("photos/", method="gcl", epochs=40)`; the options are those of `longtail train` that describe one run, with
    underscores; `--with` and `--set` are dicts, `variants={"cloud": "cosine"}` and `changes={"stages.0.epochs": 5}`. Calls from
    several threads are carried out one after the other. Processes that torchrun or srun started train the run together; the first
    one writes it.

    Raises:
        WrongTypeError: an option does not exist.
        UserError: an option or the data cannot be used; the message says what to change.
    """
    known = list(Request.__dataclass_fields__)
    for name in options:
        if name not in known:
            raise WrongTypeError(unknown("option", name, known))
        if name in OF_SEVERAL:
            raise WrongTypeError(f"`{name}` is for several runs, and `longtail.train` trains one; leave it out.")
    request, watcher = Request(data, method, **options), watcher or Silent()
    with _ONE_AT_A_TIME, together(request):
        if method == AUTO:
            return choose_method(request, watcher).result
        with first_alone("data"):
            setting, loaded = prepared(request, watcher)
        return train_one(request, setting, loaded, watcher=watcher)


train.__signature__ = signature(  # type: ignore[attr-defined]
    inspect.Parameter("watcher", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Watcher | None), leave_out=OF_SEVERAL
)
train.__doc__ = "\n".join(
    (
        f"{inspect.getdoc(train)}\n",
        documented(leave_out=OF_SEVERAL),
        "    watcher: receives the run's progress; None for no reports.",
    )
)
