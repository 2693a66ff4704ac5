"""Clocks and memory for `segcourse bench`, on a device that may answer before it has finished."""

import statistics
import time
from collections.abc import Callable

import torch


def median_seconds(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median wall-clock seconds of a call over the repeats, after one that is not timed."""
    call()  # the first call pays for memory and for kernels that are chosen once
    times = []
    for _ in range(repeats):
        wait(device)
        started = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Begin to measure the GPU's peak memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> int | None:
    """Bytes of GPU memory at most since `reset_peak`; None without a GPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def copy_bandwidth(device: torch.device, repeats: int, size: int | None = None) -> float:
    """Bytes a second that a plain copy reads and writes, on the device.

    Args:
        device: where.
        repeats: timed copies; the median counts.
        size: bytes of the array that is copied; None: 128 MiB on a CPU, more than caches hold, and
            1 GiB elsewhere, which takes a GPU long enough that starting it does not count.
    """
    if size is None:
        size = 2**27 if device.type == "cpu" else 2**30
    copied = torch.ones(size // 4, device=device)
    target = torch.empty_like(copied)
    return 2 * copied.nbytes / median_seconds(lambda: target.copy_(copied), repeats, device)


def matrix_rate(
    device: torch.device, dtype: torch.dtype, repeats: int, side: int | None = None
) -> float:
    """Operations a second of a large matrix product, multiplication and addition one each.

    What a network reaches is compared with this rather than with a data sheet. The numbers are
    random: a product of zeros runs faster.

    Args:
        device: where.
        dtype: of both matrices.
        repeats: timed products; the median counts.
        side: of the square matrices; None: 1024 on a CPU, and 8192 elsewhere.
    """
    if side is None:
        side = 1024 if device.type == "cpu" else 8192
    generator = torch.Generator().manual_seed(0)
    # Drawn once, not twice: two matrices of 8192 take the CPU seconds.
    a = torch.randn(side, side, generator=generator).to(device, dtype)
    b = a.T.contiguous()
    out = torch.empty_like(a)
    return 2 * side**3 / median_seconds(lambda: torch.mm(a, b, out=out), repeats, device)
