"""The conditions under which a run was started each time: all that can change the bits of its result beside the experiment."""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from longtail.errors import UserError
from longtail.runs.folder import RunFolder
from longtail.runs.provenance import commit, versions

Start = dict[str, Any]
CHANGE_BITS = ("device", "processor", "processes", "threads", "deterministic", "graphs", "fast", "stacked", "versions")


def this_start(
    *,
    device: str,
    deterministic: bool,
    graphs: bool,
    fast: Sequence[str] = (),
    stacked: bool = False,
    processes: int = 1,
) -> Start:
    """The conditions of a start, now and in this process.

    Args:
        device: name of the device that trains.
        deterministic: whether only algorithms are used that give the same bits each time.
        graphs: whether steps are recorded as CUDA graphs.
        fast: names of the variants by which steps are computed.
        stacked: whether the network is computed as one with others.
        processes: number of processes that train the run together.
    """
    import torch

    return {
        "since": datetime.now().astimezone().isoformat(" ", "seconds"),
        "host": socket.gethostname(),
        "device": device,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "processes": processes,
        "threads": torch.get_num_threads(),
        "deterministic": deterministic,
        "graphs": graphs,
        "fast": ",".join(fast) or None,
        "stacked": stacked or None,
        "versions": {**versions(), "cuda": torch.version.cuda or "none", "cudnn": _cudnn()},
        "commit": commit(),
        "from": None,
    }


def _cudnn() -> str:
    from torch.backends import cudnn

    version: int | None = cudnn.version()  # type: ignore[no-untyped-call]
    return str(version or "none")


def add_start(run: RunFolder, start: Start) -> None:
    """Adds a start to the record of a run, in place of the last one if that trained nothing."""
    starts = run.starts
    kept = starts if starts and starts[-1].get("from") is not None else starts[:-1]
    run.write_record({**run.record, "starts": [*kept, start]})


def mark_begin(run: RunFolder, stage: int, epoch: int) -> None:
    """Writes into the last start where its training begins, both counted from 1, unless that is written already.

    Says to the user whether the conditions of this start differ from those of the last one that trained.

    Raises:
        UserError: they differ, and the same bits were promised for one of the two.
    """
    *earlier, start = run.starts or [{"from": "no record"}]
    if start.get("from") is not None:
        return
    if earlier:
        check_conditions(run, earlier[-1], start, f"'{run.folder}' was begun")
    run.write_record({**run.record, "starts": [*earlier, {**start, "from": {"stage": stage + 1, "epoch": epoch + 1}}]})


def take_over(run: RunFolder, trained: Sequence[Start]) -> None:
    """Puts the starts that trained a stored stage into the record of a run that continues from it.

    Raises:
        UserError: the stage was trained under other conditions, and the same bits were promised for this run.
    """
    own = run.starts
    new = [start for start in trained if start not in own]
    if own and new:
        check_conditions(run, trained[-1], own[-1], "An earlier stage of this run was trained")
        run.write_record({**run.record, "starts": [*new, *own]})


def check_conditions(run: RunFolder, former: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Says to the user whether two starts of one training differ in what changes bits.

    Raises:
        UserError: they differ, and the same bits were promised for one of the two.
    """
    changed = difference(former, now)
    if not changed:
        return
    if former.get("deterministic") or now["deterministic"]:
        raise UserError(
            f"{what} under other conditions ({changed}), so the bits that `deterministic` promises would not come out. Continue "
            f"under the former ones, or train anew with `fresh`."
        )
    run.note(f"{what} under other conditions ({changed}); the result is not, to the bit, that of a run under one of them.")


def difference(former: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two starts and changes bits, as "threads 1, now 2"; "" where nothing does."""
    former, now = ({"processes": 1, **start} for start in (former, now))  # records from before say nothing of them
    pairs = [(name, former.get(name), now.get(name)) for name in CHANGE_BITS if name != "versions"]
    before, after = (_versions(start) for start in (former, now))
    pairs += [(name, before.get(name), after.get(name)) for name in sorted({*before, *after}) if name != "python"]
    return "; ".join(f"{name} {old}, now {new}" for name, old, new in pairs if old != new)


def _versions(start: Mapping[str, Any]) -> Mapping[str, Any]:
    versions = start.get("versions")
    return versions if isinstance(versions, Mapping) else {}
