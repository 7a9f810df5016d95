"""Memory of freed tensors is kept for the next ones."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from longtail.memory import keep_freed_memory

if "keep" in sys.argv:
    keep_freed_memory()
torch.set_num_threads(1)
network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 1), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 1), torch.nn.ReLU())
images = torch.ones(16, 3, 192, 192)  # maps of 36 MiB, whose pages are cleared again if they were given back
for step in range(8):
    if step == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(images).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_tensors_take_the_memory_of_former_ones():
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, *how], capture_output=True, text=True, check=True).stdout)
        for how in ([], ["keep"])
    )
    assert given_back > 5 * 1000
    assert kept < given_back / 4
