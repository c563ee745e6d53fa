import platform
import subprocess
import sys

import pytest
import torch

from voxcert.evaluation.run.processes import at_hand


def test_auto_is_what_is_at_hand():
    assert at_hand("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert at_hand("cpu") == "cpu"


FAULTS = """
import resource, sys, torch
from voxcert.evaluation.run.processes import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(9):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is another one than glibc's")
def test_freed_memory_is_used_again():
    def faults(way):
        command = [sys.executable, "-c", FAULTS, way]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert 3 * faults("kept") < faults("given back"), "pages that were fetched from the system again"
