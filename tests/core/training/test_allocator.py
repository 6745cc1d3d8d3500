import platform
import subprocess
import sys

import pytest

ALLOCATE = """
import resource
from core.training.allocator import keep_freed_memory

if {keep}:
    assert keep_freed_memory()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block = bytearray(2**26)  # cleared, so that every page is touched
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the thresholds are glibc's")
def test_freed_memory_is_taken_again() -> None:
    """Without, the system gives fresh pages for every block again; in processes of their own."""
    faults = {
        keep: int(
            subprocess.run([sys.executable, "-c", ALLOCATE.format(keep=keep)], capture_output=True, check=True).stdout
        )
        for keep in (False, True)
    }
    assert faults[True] < faults[False] / 5
