"""What the networks of a suite make of the same few frames: label maps to look at, no photographs.

One PNG a run holds its maps side by side. Pixels are class indices, the palette is the classes', so
the file shows colours in any viewer and gives the indices back to `numpy.asarray`.
"""

import io

import numpy as np
import torch
from torch import Tensor, nn

from segcourse.checkpoints import write_bytes
from segcourse.cli.crf_search import spread
from segcourse.cli.drawing import label_image
from segcourse.cli.suite_data import SuiteData
from segcourse.cli.suite_place import Job, Place
from segcourse.data.augment import normalise

FRAMES = 6
"""Evenly spread over test, or over val where there is no test; the same for all runs."""


def write(place: Place, job: Job, dense: nn.Module, data: SuiteData, precision: str) -> dict:
    """Label the frames and write the maps, and the true maps where they are not there yet.

    Args:
        place: where they go: NAME-s0.maps.png and truth-DATA.maps.png, beside the record.
        job: the run.
        dense: (N, 3, H, W) to (N, K, H, W), with the chosen weights; left in evaluation mode.
        data: with the run's data in use.
        precision: "fp32" or "bf16".

    Returns:
        For the record: `file` and `truth`, the names of the two files; `split`, `frames` (names,
        from left to right) and `size` (H, W) of one of them; `classes`, and `palette`, the
        colours of class 0, 1, ... as #rrggbb. In the true maps void is 255.
    """
    split = "val" if data.resident("test") is None else "test"
    resident, classes = data.resident(split), data.sets.classes
    chosen = spread(len(resident), FRAMES)
    path, truth = place.maps(job.label), place.maps(f"truth-{job.config.data}")
    images = normalise(resident.images[chosen].float() / 255)
    dense.eval()
    with (
        torch.no_grad(),
        torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        found = torch.cat([dense(image[None]).argmax(1) for image in images])
    for target, maps in ((path, found), (truth, resident.labels[chosen])):
        if target == path or not target.exists():
            write_bytes(target, _side_by_side(maps, classes))
    return {
        "file": path.name,
        "truth": truth.name,
        "split": split,
        "frames": [data.stem(split, i) for i in chosen],
        "size": list(resident.size),
        "classes": list(classes.names),
        "palette": ["#{:02x}{:02x}{:02x}".format(*color) for color in classes.palette],
    }


def _side_by_side(maps: Tensor, classes) -> bytes:
    """A PNG of (n, H, W) label maps, the first at the left."""
    row = np.concatenate(list(maps.cpu().numpy().astype(np.uint8)), axis=1)
    file = io.BytesIO()
    label_image(row, classes).save(file, "PNG", optimize=True)
    return file.getvalue()
