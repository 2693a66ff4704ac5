"""Weights in safetensors files, and errors that explain why a file does not fit a model.

A safetensors file holds tensors and no code, so a stranger's weights can be loaded safely, unlike
a pickle. Every page that predicts, book/sliding_window.ipynb first, loads its weights here.
"""

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from segcourse.errors import DataError


def to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """The content of a safetensors file with these tensors, which may share memory."""
    # safetensors refuses tensors that share memory, as tied weights do: each gets its own copy,
    # and loading writes the same values twice. It also wants standard memory order.
    return safetensors.torch.save(
        {
            name: t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, t in tensors.items()
        }
    )


def load(model: nn.Module, file: Path) -> None:
    """Load a safetensors file into `model`, in place, on its device.

    Raises:
        DataError: no such file, not a safetensors file, weights of another model, or of another
            number of classes.
    """
    if not file.is_file():
        raise DataError(f"{file} is missing: fetch or copy the folder again")
    try:
        saved = safetensors.torch.load_file(file)
    except safetensors.SafetensorError as error:
        raise DataError(
            f"{file} is not a safetensors file ({error}): give a checkpoint that segcourse wrote, "
            "or save a state_dict with safetensors.torch.save_file"
        ) from error
    _compare(file, saved, model)
    model.load_state_dict(saved)


def _compare(file: Path, saved: dict[str, Tensor], model: nn.Module) -> None:
    """Raise DataError unless `saved` holds the model's tensors by name and shape."""
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - saved.keys()), sorted(saved.keys() - own.keys())
    if missing or unexpected:
        raise DataError(
            f"{file} holds the weights of another model than {type(model).__name__}: "
            f"it lacks {_some(missing)} and has beyond need {_some(unexpected)}; "
            "build the model that the file was trained with"
        )
    wrong = [name for name in own if own[name].shape != saved[name].shape]
    if not wrong:
        return
    # A head for another number of classes differs in one axis, by the same two sizes throughout.
    sizes = set()
    for name in wrong:
        a, b = saved[name].shape, own[name].shape
        differ = [(x, y) for x, y in zip(a, b, strict=False) if x != y]
        sizes.add(differ[0] if len(a) == len(b) and len(differ) == 1 else None)
    if len(sizes) == 1 and None not in sizes:
        ((had, has),) = sizes
        raise DataError(
            f"{file} was trained for {had} classes and the model has {has} ({_some(wrong)}): "
            f"build the model with {had} classes, or give the data set that it was trained on"
        )
    name = wrong[0]
    raise DataError(
        f"{file} does not fit {type(model).__name__}: {name} is {tuple(saved[name].shape)} in the "
        f"file and {tuple(own[name].shape)} in the model, and {len(wrong) - 1} more differ; "
        "build the model with the sizes that the file was trained with"
    )


def _some(names: list[str]) -> str:
    """A few of many names, in words."""
    if not names:
        return "nothing"
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
