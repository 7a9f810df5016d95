"""Runs the lines of a list, several at once, until the time is up; then all are ended, and go on the next time.

    python run_jobs.py SECONDS JOBS LIST COMMAND...

A line "a ; b" is run as COMMAND a, then COMMAND b, so that b finds the stage that a has stored.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

from longtail.workflow.mps import served


@dataclass
class Jobs:
    """Lines that wait, and processes that run, until a moment of `time.monotonic`."""

    until: float
    command: list[str]
    waiting: Queue[list[str]] = field(default_factory=Queue)
    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)

    def work(self) -> None:
        """Runs one line after the other."""
        while time.monotonic() < self.until:
            try:
                chain = self.waiting.get_nowait()
            except Empty:
                return
            for words in chain:
                if time.monotonic() < self.until:
                    self.run(words)

    def run(self, words: str) -> None:
        """Runs one command, and prints how it ended, unless it was ended."""
        began = time.monotonic()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen([*self.command, *shlex.split(words)], stdout=said, stderr=subprocess.STDOUT)
            self.running.add(process)
            code = process.wait()
            self.running.discard(process)
            said.seek(0)
            tail = "" if code == 0 else said.read()[-300:].decode(errors="replace").replace("\n", " | ")
        if code >= 0:
            now = time.monotonic()
            print(f"[{now - self.began:.0f} s] {words}: exit {code}, {now - began:.0f} s {tail}", flush=True)

    def end(self) -> None:
        """Ends what still runs."""
        for process in list(self.running):
            process.kill()


def main() -> None:
    seconds, count, listed, *command = sys.argv[1:]
    jobs = Jobs(time.monotonic() + float(seconds), command)
    for line in Path(listed).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            jobs.waiting.put([part.strip() for part in line.split(";")])
    with served(print):
        workers = [threading.Thread(target=jobs.work, daemon=True) for _ in range(int(count))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(max(jobs.until - time.monotonic(), 0))
        jobs.end()
    print("not begun:", jobs.waiting.qsize())


if __name__ == "__main__":
    main()
