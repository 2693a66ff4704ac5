"""Several processes as one: devices, process group and gradients under torchrun.

Without torchrun every function here is the identity and costs nothing. With it, a step over N
processes has the gradient of one process on the whole batch: book/sliding_window.ipynb trains with
one process, the results chapter with as many as there are GPUs.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from segcourse.errors import UsageError

T = TypeVar("T")


def rank() -> int:
    """This process's number, 0..world - 1; process 0 alone writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """The number of processes that share a step; 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def choose_device(name: str) -> torch.device:
    """The device that `name` means for this process.

    Args:
        name: "auto" (a GPU where there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps".
            Under torchrun "auto" and "cuda" mean the GPU number LOCAL_RANK.

    Raises:
        UsageError: torch does not know the name, or finds no such device.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(
            f"device is {name!r}, which torch does not know: give auto, cpu, cuda, cuda:1 or mps"
        ) from error
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device is mps, and torch finds none here: give device auto or cpu")
    if device.type != "cuda":
        return device
    index = int(os.environ.get("LOCAL_RANK", 0)) if device.index is None else device.index
    if index >= gpus:
        raise UsageError(
            f"device is {name}: GPU number {index} is needed and torch finds {gpus} GPUs: give "
            "device cpu, start fewer processes, or install a torch that fits the driver"
        )
    return torch.device("cuda", index)


def check_precision(precision: str, device: torch.device) -> None:
    """Raise UsageError where `precision` is "bf16" and the GPU has no bfloat16 arithmetic."""
    if precision != "bf16" or device.type != "cuda":
        return  # CPUs compute bf16 too, slowly where they must emulate it
    with torch.cuda.device(device):
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    if not supported:
        raise UsageError(
            f"precision is bf16, and {torch.cuda.get_device_name(device)} has no bf16 arithmetic "
            "(NVIDIA GPUs have it since Ampere): give precision fp32"
        )


@contextmanager
def processes(device: str) -> Iterator[torch.device]:
    """Join the process group that torchrun set up, and leave it at the end.

    Inside another `processes`, or without torchrun, only the device is chosen. The backend is NCCL
    on GPUs and gloo elsewhere.

    Args:
        device: as for `choose_device`.

    Yields:
        This process's device.

    Raises:
        UsageError: as `choose_device`, or only a part of torchrun's environment is set.
    """
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if dist.is_initialized() or "WORLD_SIZE" not in os.environ:
        yield chosen
        return
    missing = [
        n for n in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if n not in os.environ
    ]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is set and {', '.join(missing)} not: start several processes with "
            "torchrun, or unset WORLD_SIZE for one"
        )
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield chosen
    finally:
        dist.destroy_process_group()


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model whose backward pass averages gradients over the processes.

    On GPUs batch norm is first made to take its statistics from all processes (SyncBatchNorm,
    in place where the model is more than one norm layer). gloo has no such layer: on CPUs batch
    norm sees its own process's images only, and N processes then do not equal one.
    """
    if world() == 1:
        return model
    if device.type != "cuda":
        return DistributedDataParallel(model)
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model, device_ids=[device.index])


def whole_batch(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gather the logits and labels of all processes, so that a loss sees the whole batch.

    The mean of the processes' means is not the mean over all pixels: each process has another
    number of void pixels, and Dice is no mean over pixels at all. A loss of the gathered batch is
    one process's loss for every formula. Only this process's logits carry a gradient: its share.
    DistributedDataParallel divides the sum of the shares by `world()`, so multiply the loss by it.
    The price is one exchange of logits a step, 4 K H W bytes an image in float32.

    Args:
        logits: (n, K, H, W), this process's, of the same shape in every process.
        labels: (n, H, W) int64.

    Returns:
        (n * world, K, H, W) and (n * world, H, W), in order of rank.
    """
    if world() == 1:
        return logits, labels
    mine = logits.detach().contiguous()
    all_logits = [torch.empty_like(mine) for _ in range(world())]
    dist.all_gather(all_logits, mine)
    all_logits[rank()] = logits
    labels = labels.contiguous()
    all_labels = [torch.empty_like(labels) for _ in range(world())]
    dist.all_gather(all_labels, labels)
    return torch.cat(all_logits), torch.cat(all_labels)


def total(counts: Tensor) -> Tensor:
    """The sum of `counts` over all processes, in every process."""
    if world() > 1:
        dist.all_reduce(counts)
    return counts


@torch.no_grad()
def share_buffers(model: nn.Module) -> None:
    """Give every process the first one's floating-point buffers, in place.

    On CPUs batch norm's running statistics are each process's own (see `wrap`), and what is saved
    is the first one's.
    """
    if world() > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                dist.broadcast(buffer, 0)


def check_batch(images: int) -> None:
    """Raise UsageError where a batch of so many images does not divide among the processes."""
    if images % world():
        raise UsageError(
            f"a batch of {images} does not divide among {world()} processes: "
            f"give a batch that is a multiple of {world()}"
        )


def from_first(compute: Callable[[], T]) -> T:
    """Compute in process 0 and hand the result to all, or raise its error in all.

    Questions about files are answered once: another process could already see what process 0
    writes next.
    """
    if world() == 1:
        return compute()
    answer: list = [None, None]
    if rank() == 0:
        try:
            answer[0] = compute()
        except Exception as error:
            answer[1] = error
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]
