"""`--start`: weights of another run in place of random ones.

The same model takes all of them. Another one takes them only where a rule says which layer goes
where (`models.HAND_OVERS`), as from FCN-32s to FCN-16s; anything else is refused, since a network
that trains from a few layers that happen to fit would be called pretrained and hardly be.
"""

import hashlib
from pathlib import Path

import torch
from torch import nn

from segcourse.checkpoints import load_weights
from segcourse.cli.models import HAND_OVERS
from segcourse.cli.runs import FILE, load_run
from segcourse.errors import UsageError


def start_from(model: nn.Module, path: str | Path) -> dict:
    """Put the best weights of a run, or those of a file, into `model`, in place.

    Args:
        model: as built, on the CPU.
        path: a run's folder; or a .safetensors file or a checkpoint's folder of the same model.

    Returns:
        For the record: `sha256` of the file that was read, and `new`, the names of the tensors
        that stayed as they were built.

    Raises:
        DataError: nothing there, or damaged, or of another number of classes.
        UsageError: another model, and no rule to hand its weights over.
    """
    path = Path(path)
    if not (path / FILE).is_file():
        return {"sha256": _hash(load_weights(model, path)), "new": []}
    given = load_run(path, torch.device("cpu"))
    source = given.trained
    if _shapes(source) == _shapes(model) and type(source) is type(model):
        model.load_state_dict(source.state_dict())
        return {"sha256": _hash(given.weights), "new": []}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for kind, hand_over in HAND_OVERS.items():
        if isinstance(source, kind) and isinstance(model, kind):
            hand_over(source, model)
            break
    else:
        raise UsageError(
            f"--start {path} is a {given.config.model}, whose weights have no known place in "
            f"{type(model).__name__}: start from a run of the same model"
        )
    new = [name for name, tensor in model.state_dict().items() if tensor.equal(before[name])]
    if len(new) == len(before):
        raise UsageError(
            f"--start {path}: no weight of {given.config.model} changed {type(model).__name__}; "
            "start from a run of the same model"
        )
    return {"sha256": _hash(given.weights), "new": new}


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
