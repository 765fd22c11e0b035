"""The device that is chosen, and the memory that the CPU keeps."""

from __future__ import annotations

import subprocess
import sys

import pytest

from locheads.model.devices import pick_device

FAULTS = """
import resource, sys, torch
from locheads.model.devices import pick_device

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        first, second = torch.ones(2_000_000), torch.ones(3_000_000)  # 8 and 12 MB, as activations
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
pick_device("cpu", "specimen")
faults()
print(before, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an option of glibc")
def test_freed_memory_is_used_again_on_the_cpu() -> None:
    """Counts the pages that the system had to clear for twenty layers, with glibc's defaults and after."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < 100 < before


def test_auto_is_the_cpu_for_a_specimen() -> None:
    assert pick_device("auto", "specimen") == "cpu"
