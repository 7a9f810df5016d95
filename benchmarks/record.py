"""Runs a command and keeps what it printed: python benchmarks/record.py NAME COMMAND..."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from longtail.runs.files import write_text
from longtail.runs.provenance import commit, versions


def processor() -> str:
    """The CPU's name, and the GPU's where there is one."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "CPU")
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {os.cpu_count()} cores{gpu}"


def shown(arguments: list[str]) -> str:
    """The command without the places of one machine."""
    places = {"--root": "DATA", "--runs": "RUNS"}
    named = [places.get(before, word) for before, word in pairwise(["", *arguments])]
    return " ".join(Path(word).name if Path(word).is_absolute() else word for word in named)


def main() -> None:
    name, arguments = sys.argv[1], sys.argv[2:]
    began = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"}, check=False)
    seconds = time.perf_counter() - began
    places = [value for option, value in pairwise(arguments) if option in ("--root", "--runs")]
    output = done.stdout + done.stderr
    for place in places:
        output = output.replace(place, "RUNS")
    for place in filter(os.path.isabs, arguments):
        output = output.replace(place, Path(place).name)
    header = [
        f"command   {shown(arguments)}",
        f"commit    {commit()}",
        f"device    {processor()}",
        f"versions  {', '.join(f'{package} {version}' for package, version in versions().items())}",
        f"seconds   {seconds:.0f} (of this call; a finished run is read back)",
        "",
    ]
    path = write_text(Path(__file__).parent / f"{name}.txt", "\n".join(header) + "\n" + output)
    print(path.read_text())
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
