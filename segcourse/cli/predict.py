"""`segcourse predict`: label images with a trained run, as label PNGs and overlays."""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcourse.cli.crf_flags import Settings, add_crf_flags, refine, settings_if_asked
from segcourse.cli.drawing import label_image, overlay, with_legend
from segcourse.cli.flags import add_device, check_folder
from segcourse.cli.images import find_images, read_image, unopened
from segcourse.cli.runs import load_run
from segcourse.cli.tiling import by_tile, overview, plan
from segcourse.data.augment import normalise
from segcourse.data.base import resize_image
from segcourse.distributed import choose_device
from segcourse.errors import DataError, UsageError
from segcourse.pretrained import load_pretrained

DESCRIPTION = """\
Label images with a trained run, or with weights that come with the course. For each IMAGE two
files are written under --out:

  labels/STEM.png    class indices, one byte a pixel, with the colours embedded as a palette
  overlays/STEM.png  the image under the colours of its classes, with a legend

Both have the size of the image as a person sees it (camera rotation applied). The network looks
at the image scaled, in its own shape, to as many pixels as the run's training images had; its
scores are then enlarged to the image's size. Grey images become RGB, transparent parts white.

--tile labels an image at full size piece by piece, so that the network's memory depends on the
tile and not on the image. How far the network looks, and where tiles may begin, is measured once;
with the margin that follows the labels are those of the whole image. The overlay is then a small
one, at most 2048 px a side.

--crf refines the scores by the colours of the image, at the image's size, before each pixel takes
its label. Sigmas are in pixels of the image and in colour units; `segcourse crf-search` finds some
for a run. A CRF follows colour edges: it mends ragged borders and loses thin or faint objects."""

EPILOG = """\
example:
  segcourse predict street.jpg photos/ --run runs/x --out predictions
  segcourse predict street.jpg --weights camvid-unet-aspp-light --out predictions
  segcourse predict plate.png --run runs/x --out predictions --tile 1024 --max-pixels 400000000
  segcourse predict street.jpg --run runs/x --out predictions --crf --sxy 60 --srgb 5

An image that cannot be read is reported, the others are done, and the exit code is 1.
Files from an earlier call are overwritten."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `segcourse predict`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.set_defaults(run=run)
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="image files, or folders of them; folders inside these are left out",
    )
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument(
        "--run",
        type=Path,
        dest="run_dir",
        metavar="RUN_DIR",
        help="output folder of `segcourse train`",
    )
    network.add_argument(
        "--weights",
        metavar="NAME",
        help="weights that come with the course, see `segcourse weights list`; or their folder",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="where the PNGs go; made if missing"
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="scale the image to H*W pixels, in its own shape, instead of the training size's",
    )
    sizes.add_argument(
        "--full-size", action="store_true", help="give the network the image as large as it is"
    )
    sizes.add_argument(
        "--tile",
        type=int,
        metavar="PX",
        help="full size, in tiles of this side: memory then depends on the tile",
    )
    parser.add_argument(
        "--margin",
        type=int,
        metavar="PX",
        help="with --tile: pixels seen around a tile; default: as far as the network looks",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=50_000_000,
        metavar="N",
        help="refuse images with more pixels than this, before reading them",
    )
    parser.add_argument("--crf", action="store_true", help="refine the scores with a dense CRF")
    add_crf_flags(parser, "CRF, with --crf")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Predict every image; 1 at the end when one of them could not be read."""
    if args.size is not None and min(args.size) < 1:
        raise UsageError(f"--size {args.size[0]} {args.size[1]}: both must be at least 1")
    if args.margin is not None and args.tile is None:
        raise UsageError(f"--margin {args.margin} is for tiles: give --tile too, or leave it out")
    check_folder(args.out)
    crf = settings_if_asked(args)
    if crf is not None and args.tile is not None:
        raise UsageError(
            "--crf lets every pixel listen to the whole image, which --tile cuts up: leave one out"
        )
    images = find_images(args.images)
    for folder in unopened(args.images):
        print(f"{folder} is not opened: name it too to label its images", file=sys.stderr)
    device = choose_device(args.device)
    if args.weights is None:
        trained = load_run(args.run_dir, device)
    else:
        trained = load_pretrained(args.weights, device)
    tiling = None if args.tile is None else plan(trained.model, args.tile, args.margin)
    area = None if args.full_size else math.prod(args.size or trained.size)
    folders = args.out / "labels", args.out / "overlays"
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)

    failed = 0
    for path in images:
        targets = [folder / f"{path.stem}.png" for folder in folders]
        try:
            if path.resolve() in [target.resolve() for target in targets]:
                raise DataError(f"{path} would be overwritten by its own result: change --out")
            image = read_image(path, args.max_pixels)
        except DataError as error:
            print(f"segcourse predict: {error}", file=sys.stderr)
            failed += 1
            continue
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        if tiling is not None:
            labels = by_tile(trained.model, pixels, tiling, trained.device).numpy()
        else:
            labels = predict(trained.model, pixels, area, trained.device, crf).numpy()
        label_image(labels, trained.classes).save(targets[0])
        if tiling is not None:
            image, labels = overview(image, labels)
        counts = np.bincount(labels.ravel())
        present = [int(k) for k in np.argsort(-counts) if counts[k]]
        picture = overlay(image, labels, trained.classes)
        with_legend(picture, trained.classes, present).save(targets[1])
        print(f"{path} -> {targets[0]} and {targets[1]}")
    if failed:
        print(f"{failed} of {len(images)} images could not be labelled", file=sys.stderr)
    return 1 if failed else 0


@torch.inference_mode()
def predict(
    model: nn.Module,
    image: Tensor,
    area: int | None,
    device: torch.device,
    crf: Settings | None = None,
) -> Tensor:
    """Label one image.

    Args:
        model: in evaluation mode, on `device`; (1, 3, h, w) to (1, K, h, w).
        image: (3, H, W) uint8.
        area: pixels that the network sees; the image is scaled to it, keeping its shape. None
            gives the image as it is.
        device: where the model is.
        crf: refines the scores at the image's size; None: none does.

    Returns:
        (H, W) int64 class indices, on the CPU.
    """
    logits = scores(model, image, area, device)
    if crf is not None:
        return refine(logits, image, crf).cpu()
    return enlarged_argmax(logits, *image.shape[1:]).cpu()


@torch.inference_mode()
def scores(model: nn.Module, image: Tensor, area: int | None, device: torch.device) -> Tensor:
    """Logits (K, h, w) of one image, at the size that the network sees; arguments as `predict`."""
    H, W = image.shape[1:]
    scale = 1.0 if area is None else math.sqrt(area / (H * W))
    seen = resize_image(image, (max(round(H * scale), 1), max(round(W * scale), 1)))
    return model(normalise(seen[None].to(device).float() / 255))[0]


def enlarged_argmax(logits: Tensor, height: int, width: int) -> Tensor:
    """The class with the largest score after bilinear enlargement, one class at a time.

    All K classes of a 12-megapixel photograph at once would be K * 48 MB; this holds two maps.

    Args:
        logits: (K, h, w).
        height: of the result, in pixels.
        width: of the result, in pixels.

    Returns:
        (height, width) int64; the lower class where two are equal, as `argmax` has it.
    """
    if logits.shape[1:] == (height, width):
        return logits.argmax(0)
    best = logits.new_full((height, width), -torch.inf)
    labels = torch.zeros(height, width, dtype=torch.int64, device=logits.device)
    for k, score in enumerate(logits):
        up = F.interpolate(score[None, None], (height, width), mode="bilinear")[0, 0]
        better = up > best
        best, labels = torch.where(better, up, best), labels.masked_fill_(better, k)
    return labels
