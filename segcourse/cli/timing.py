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
