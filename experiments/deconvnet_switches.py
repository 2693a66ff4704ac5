"""What the switches carry: true, fixed and random ones, and bilinear decoding (deconvnet).

    python experiments/deconvnet_switches.py

One light network on the scenes, trained with five ways to unpool: at the true switches, at fixed
corners, at random places, bilinearly, and with no learned decoder at all; and SegNet beside them.
VGG16 had learned from ImageNet before it became DeconvNet's encoder. Here the encoder first learns
with bilinear decoding; then every network of a seed starts from that encoder, with a new decoder,
and sees the same crops. The network trained on true switches is tested once more with other ones.
Writes
results/deconvnet/switches.json, and of seed 0's networks on one scene maps.png (a label map for
each network) and activations.png (a channel of every step of the decoder, for true switches above
and fixed ones below). `--quick` is a smoke run of seconds.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shared.command_line import parsed
from shared.dense_on_scenes import TRIMAP_WIDTHS, Budget, K, evaluate, scenes, tensors, train
from shared.windows_on_scenes import spread
from torch import Tensor, nn

from segcourse.cost import multiply_adds, parameters
from segcourse.deconvnet import BilinearDecoder, DeconvNet, bilinear_light, deconvnet_light
from segcourse.labels import IGNORE, SCENES
from segcourse.records import record, write_record
from segcourse.segnet import segnet_light
from segcourse.unpool_rules import Unpool, UnpoolAtRandom, unpool_at_corners, upsample_bilinear
from segcourse.unpooling import max_unpool

SIDE = 128  # px, of the scenes: what the multiply-adds are counted for
SCENE = 22  # of the test scenes: what the pictures show


def unpoolings(seed: int) -> dict[str, Unpool]:
    """The four ways to place values, by name."""
    return {
        "true": max_unpool,
        "fixed": unpool_at_corners,
        "random": UnpoolAtRandom(torch.Generator().manual_seed(seed)),
        "bilinear": upsample_bilinear,
    }


def networks() -> dict[str, Callable[[int], nn.Module]]:
    """Name to builder; a builder takes the seed of the random switches."""
    builders: dict[str, Callable[[int], nn.Module]] = {
        name: lambda seed, name=name: deconvnet_light(K, unpool=unpoolings(seed)[name])
        for name in unpoolings(0)
    }
    return builders | {
        "no_decoder": lambda seed: bilinear_light(K),
        "segnet": lambda seed: segnet_light(K),
    }


@torch.inference_mode()
def label_map(model: nn.Module, image: Tensor) -> np.ndarray:
    """(1, 3, H, W) normalised to (H, W) uint8."""
    return model(image).argmax(1)[0].numpy().astype(np.uint8)


@torch.inference_mode()
def step_pictures(model: DeconvNet, image: Tensor, mask: Tensor) -> np.ndarray:
    """One channel of every step of the decoder side by side, (SIDE, n * SIDE) uint8.

    Of each step the channel that agrees best with the mask of all objects (highest correlation of
    the map, brought to the mask's size, with the mask), from 0 to its own highest value.
    """
    pictures = []
    for maps in list(model.activations(image).values())[:-1]:
        large = nn.functional.interpolate(maps, (SIDE, SIDE))[0]  # nearest
        flat = large.flatten(1) - large.flatten(1).mean(1, keepdim=True)
        wanted = mask.flatten().float() - mask.float().mean()
        agreement = (flat @ wanted) / flat.norm(dim=1).clamp(min=1e-6)
        one = large[agreement.argmax()]
        pictures.append(255 * one / one.max().clamp(min=1e-6))
    return torch.cat(pictures, dim=1).round().byte().numpy()


def starts_from(model: nn.Module, trained: nn.Module) -> None:
    """Copy encoder and bridge, and for a network without a decoder the scores."""
    model.encoder.load_state_dict(trained.encoder.state_dict())
    if list(model.bridge.parameters()):  # SegNet has none
        model.bridge.load_state_dict(trained.bridge.state_dict())
    if isinstance(model, BilinearDecoder):
        model.score.load_state_dict(trained.score.state_dict())


def main() -> int:
    """Train and evaluate each network, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network")
    parser.add_argument("--first", type=int, default=2000, help="steps of the encoder's training")
    parser.add_argument("--steps", type=int, default=1000, help="steps of each network after that")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--out", type=Path, default=Path("results/deconvnet/switches.json"), help="record"
    )
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps, crops=4)
    budget = budget.quick() if args.quick else budget
    first = budget if args.quick else replace(budget, steps=args.first)
    encoders = []
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        encoders.append(bilinear_light(K))
        train(encoders[-1], first, 1000 + seed)
    trained: dict[str, dict] = {}
    swapped: dict[str, dict] = {}
    maps, steps = [], []
    shown = scenes(SCENE + 1, "test")[SCENE:]
    image, labels = tensors(shown)
    mask = (labels[0] != 0) & (labels[0] != IGNORE)
    for name, build in networks().items():
        runs, others = [], {other: [] for other in unpoolings(0) if other != "true"}
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            model = build(seed)
            starts_from(model, encoders[seed])
            seconds = train(model, budget, seed)
            scores = evaluate(model, budget.test_scenes)
            runs.append({"seed": seed, **scores, "training_cpu_s": seconds})
            if seed == 0:
                maps.append(label_map(model, image))
                if name in ("true", "fixed"):
                    steps.append(step_pictures(model, image, mask))
            for other in others if name == "true" else ():
                model.unpool = unpoolings(seed)[other]
                others[other].append({"seed": seed, **evaluate(model, budget.test_scenes)})
        show(name, runs)
        trained[name] = {
            "parameters": parameters(model),
            "multiply_adds": multiply_adds(model, (SIDE, SIDE)),
            "runs": runs,
        }
        if name == "true":
            swapped = {other: {"runs": found} for other, found in others.items()}
            for other, found in others.items():
                show(f"true, then {other}", found)

    metrics = {"trained": trained, "trained_true_tested": swapped}
    config = asdict(budget) | {
        "first_steps": first.steps,
        "quick": args.quick,
        "seeds": args.seeds,
        "image_side": SIDE,
    }
    command = ["python", "experiments/deconvnet_switches.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, metrics, [], seconds))
    coloured = Image.fromarray(np.concatenate(maps, axis=1), mode="P")
    coloured.putpalette(np.array(SCENES.palette, np.uint8).tobytes())
    coloured.save(args.out.parent / "maps.png", optimize=True)
    grey = Image.fromarray(np.concatenate(steps, axis=0))
    grey.save(args.out.parent / "activations.png", optimize=True)
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


def show(name: str, runs: list[dict]) -> None:
    """One line of means and half ranges."""
    keys = ["miou", *(f"trimap_{w}px_miou" for w in TRIMAP_WIDTHS), "interior_miou"]
    columns = [f"{key.removesuffix('_miou')} {spread([run[key] for run in runs])}" for key in keys]
    seconds = statistics.mean(run.get("training_cpu_s", 0) for run in runs)
    print(f"{name:<20}" + "  ".join(columns) + f"  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
