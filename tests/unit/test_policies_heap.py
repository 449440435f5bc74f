"""Freed memory goes back to the system, in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
from pathlib import Path
import torch
from synlearner.policies.heap import trim

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

torch.ones(2**21)  # freed at once: glibc now takes blocks of its size from the heap
before, kept = resident(), []
large = []
for _ in range(60):
    large.append(torch.ones(2**21))
    kept.append(torch.ones(1000))
del large
freed = resident() - before
assert trim()
print(freed, resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, and glibc's heap is what it is about")
def test_what_is_free_in_the_middle_of_the_heap_is_given_back() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, after = map(float, ran.stdout.split())
    assert before > 300, "MB that glibc keeps: else there is nothing to do"
    assert after < 60
