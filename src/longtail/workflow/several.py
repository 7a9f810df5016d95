"""Several processes that train one run: what they cannot do, whether they agree, and what the first one tells the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from longtail.engine.group import in_group, own_place
from longtail.errors import UserError
from longtail.runs.devices import chosen_device
from longtail.runs.provenance import versions
from longtail.spec.experiment import Experiment
from longtail.together import world
from longtail.turns import of_all
from longtail.workflow.request import AUTO, Request


@contextmanager
def together(request: Request) -> Iterator[None]:
    """Inside the `with` block this process is one of those that torchrun or srun started for the request, if they did.

    Raises:
        UserError: the request asks for what several processes cannot do.
        TrainingFailed: another process ended or does not answer.
    """
    if own_place() is not None:
        check_several(request)
    elif request.devices > 1:
        raise UserError("`devices` is an option of `longtail train`; from Python, start the program by torchrun.")
    with in_group(chosen_device(request.device)):
        yield


def check_several(request: Request) -> None:
    """Refuses what several processes cannot do.

    Raises:
        UserError: the method is to be chosen, steps are to be recorded, or seeds are to be trained at once.
    """
    if request.method == AUTO:
        raise UserError("Several processes train one method; name it with `method`, or choose one in a process alone.")
    if request.graphs:
        raise UserError("`graphs` records the steps of a process alone; leave it out where several train one run.")
    if request.fast not in ("auto", "none"):
        raise UserError("`fast` changes the steps of a process alone; leave it out where several train one run.")
    if request.jobs is not None and request.jobs > 1:
        raise UserError("`jobs` trains several seeds at once, and here several processes train one run; leave one of them out.")
    if request.together != "none":
        raise UserError("`together` trains several runs in one process; leave it out where several processes train one run.")


def check_agreement(experiment: Experiment) -> None:
    """Compares the experiments and the versions of all processes.

    Raises:
        UserError: a process has other data, other options or other packages; the message names it and what differs.
    """
    if world() == 1:
        return
    of_this = {"data": experiment.fingerprint, "experiment": experiment.key(), **versions()}
    leading, *others = of_all("experiment", of_this)
    for rank, found in enumerate(others, 1):
        for name, value in leading.items():
            if found[name] != value:
                raise UserError(
                    f"Process {rank} of {world()} trains something else than process 0: {name} {found[name][:12]}, not "
                    f"{value[:12]}. Give all of them the same command, files and packages."
                )
