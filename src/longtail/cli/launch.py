"""`--devices N`: the command is started again as N processes of this machine, by torch's launcher, and their ends are named."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from longtail.cli.show import console
from longtail.cli.stopping import Stopped
from longtail.engine.group import own_place
from longtail.errors import TrainingFailed
from longtail.processes import processors
from longtail.workflow.request import Request


def launch(request: Request) -> None:
    """Starts this command as `devices` processes, and waits for their end; when one ends early, the others are ended.

    Raises:
        TrainingFailed: a process was killed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(processors() // request.devices, 1)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch warns where each parameter has a gradient, as most have
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what has ended is said in one sentence
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=request.devices,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-P", "-m", "longtail", *sys.argv[1:])
    except SignalException as stop:
        raise Stopped(stop.sigval) from None
    except ChildFailedError as error:
        _say_end(*error.get_first_failure())


def _say_end(rank: int, failure: object) -> None:
    """Ends with the exit code of the process that failed first, which has said why unless it was killed."""
    code = int(getattr(failure, "exitcode", 1))
    if code >= 0:
        sys.exit(code)
    raise TrainingFailed(
        f"Process {rank} of this run was killed by signal {-code}, {signal.Signals(-code).name}; often, the memory is used up. "
        f"Finished epochs are kept, and the same command continues, also with another number of processes."
    )


@contextmanager
def silent_but_first() -> Iterator[None]:
    """Of several processes only the first one prints, inside the `with` block."""
    place, before = own_place(), console.quiet
    console.quiet = before or (place is not None and place.rank > 0)
    try:
        yield
    finally:
        console.quiet = before
