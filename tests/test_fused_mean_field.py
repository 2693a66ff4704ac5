"""The fast mean field keeps the memory that it freed. Its numbers: tests/test_dense_crf.py."""

import platform
import subprocess
import sys

import pytest

CALLS = """
import resource

import torch

from segcourse import fused_mean_field
from segcourse.dense_crf import DenseCRF

{before}
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
logits = torch.randn(1, 21, 213, 320, generator=generator)
image = torch.randint(0, 256, (1, 3, 11, 16), generator=generator).float()
image = torch.nn.functional.interpolate(image, (213, 320), mode="bilinear").to(torch.uint8)
layer = DenseCRF(21, iterations=5)
with torch.inference_mode():
    layer(logits, image)
    first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(6):
        layer(logits, image)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""


def page_faults(before: str) -> int:
    """Of six calls after a first one, in a process of their own."""
    command = [sys.executable, "-c", CALLS.format(before=before)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's malloc that adapts")
def test_calls_find_the_memory_that_the_last_one_freed():
    """At the paper's size, where every page that the system gives anew would cost a fault."""
    without = page_faults("fused_mean_field._keep_freed_memory = lambda: None")
    assert page_faults("") < without / 3
