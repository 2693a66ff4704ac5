"""Dense and short-range CRF after a DeepLab, searched, trained, and set wrongly (crf).

    python experiments/crf_refine.py

For each seed a light DeepLab (ASPP-S at stride 4) is trained on the scenes. Its scores are refined
by a short-range CRF of several strengths and by a dense CRF whose parameters are searched on
validation scenes; the best of each on those is scored on test scenes. Beside them: the same
short-range CRF on scores with noise in every pixel, what such a CRF was made for; a dense CRF that
is too smooth, and one that hardly looks at position. Last, the network goes on for as many steps
alone and with the CRF as its last layer. Writes results/crf/refine.json, and refine.png: a row a
scene, a column a method, in the palette of the scenes. `--quick` is a smoke run.
"""

import argparse
import sys
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shared.command_line import parsed
from shared.dense_on_scenes import Budget, K, predict, scenes, scores, tensors, train
from shared.windows_on_scenes import spread
from torch import Tensor, nn

from segcourse.aspp import ASPP
from segcourse.backbones import LightBackbone
from segcourse.crf import potts, to_image, unary, weighted
from segcourse.data import Scene
from segcourse.data.augment import MEAN, STD
from segcourse.deeplab import DeepLab
from segcourse.dense_crf import DenseCRF
from segcourse.grid_crf import plain_grid
from segcourse.labels import SCENES
from segcourse.mean_field import parallel_updates
from segcourse.metrics import confusion_matrix, mean_iou
from segcourse.records import record, write_record

WIDTHS, HEAD, RATES = (24, 48), 48, (1, 2, 4, 6)  # as in aspp_branches.py
STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the short-range CRF
SEARCHED = {"sxy": (10.0, 20.0, 40.0), "srgb": (10.0, 20.0, 40.0), "weight": (2.0, 4.0, 8.0)}
SMOOTHNESS = {"smoothness_weight": 1.0, "sxy_smooth": 1.0}
TOO_SMOOTH = {"smoothness_weight": 10.0, "sxy_smooth": 3.0}
ITERATIONS = 5
FILM = 10  # iterations that are scored one by one
NOISE = 2.0  # standard deviation in every logit
VALIDATION = 40  # scenes
FINE_TUNING, RATE = 150, 1e-3  # steps with and without the CRF, learning rate
SHOWN = (0, 9, 22)
"""Test scenes in the picture."""


def build(seed: int) -> DeepLab:
    """The network with this seed's weights."""
    torch.manual_seed(seed)  # this script is the program, so the seed is its
    return DeepLab(LightBackbone(WIDTHS), ASPP(WIDTHS[-1], K, RATES, HEAD, 0.1))


def dense(sxy: float, srgb: float, weight: float, smoothness: dict, iterations: int) -> DenseCRF:
    """A dense CRF over the scenes' classes."""
    return DenseCRF(
        K,
        appearance_weight=weight,
        sxy=sxy,
        srgb=srgb,
        smoothness_weight=smoothness["smoothness_weight"],
        sxy_smooth=smoothness["sxy_smooth"],
        iterations=iterations,
    )


@torch.no_grad()
def refined(crf: DenseCRF, logits: Tensor, images: Tensor) -> Tensor:
    """Label maps (N, H, W) of logits (N, K, H, W) and uint8 images (N, 3, H, W)."""
    pairs = zip(logits.split(1), images.split(1), strict=True)
    return torch.cat([crf(one, image).argmax(1) for one, image in pairs])


def short_range(logits: Tensor, weight: float) -> Tensor:
    """Label maps (N, H, W) after a CRF between the four neighbours of each pixel."""
    H, W = logits.shape[2:]
    hears = weighted([plain_grid(H, W)], [weight])
    *_, probs = parallel_updates(unary(logits), hears, potts(K), FILM)
    return to_image(probs, H, W).argmax(1)


def miou(predictions: Tensor, made: tuple[Scene, ...]) -> float:
    """Of label maps (N, H, W) over the set."""
    labels = torch.stack([one.labels for one in made])
    return mean_iou(confusion_matrix(predictions, labels, K))


def search(logits: Tensor, images: Tensor, made: tuple[Scene, ...]) -> list[dict[str, float]]:
    """Every combination of `SEARCHED` with its mIoU, the best first."""
    found = []
    for values in product(*SEARCHED.values()):
        chosen = dict(zip(SEARCHED, values, strict=True))
        crf = dense(**chosen, smoothness=SMOOTHNESS, iterations=ITERATIONS)
        found.append(chosen | {"miou": miou(refined(crf, logits, images), made)})
    return sorted(found, key=lambda one: -one["miou"])


class WithCRF(nn.Module):
    """A network and a dense CRF behind it, as one network."""

    def __init__(self, network: nn.Module, crf: DenseCRF):
        super().__init__()
        self.network, self.crf = network, crf

    def forward(self, image: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) to log-probabilities (N, K, H, W)."""
        mean, std = (torch.tensor(value)[:, None, None] for value in (MEAN, STD))
        pixels = (255 * (image * std + mean)).round().to(torch.uint8)
        return self.crf(self.network(image), pixels)


def refine(seed: int, budget: Budget, fine: Budget, validation: int) -> tuple[dict, list[Tensor]]:
    """Everything for one seed: scores by name, and label maps of the shown scenes."""
    network = build(seed)
    train(network, budget, seed)
    held, made = scenes(validation, "val"), scenes(budget.test_scenes, "test")
    pixels = [torch.stack([one.image for one in part]) for part in (held, made)]
    on_held, logits = (predict(network, tensors(part)[0]) for part in (held, made))
    noise = torch.Generator().manual_seed(seed)
    noisy = logits + NOISE * torch.randn(logits.shape, generator=noise)

    ranked = search(on_held, pixels[0], held)
    best = {name: ranked[0][name] for name in SEARCHED}
    by_strength = {w: miou(short_range(on_held, w), held) for w in STRENGTHS}
    strength = max(by_strength, key=by_strength.get)
    crf = dense(**best, smoothness=SMOOTHNESS, iterations=ITERATIONS)
    smooth = dense(**best, smoothness=TOO_SMOOTH, iterations=ITERATIONS)
    maps = {
        "network": logits.argmax(1),
        "short": short_range(logits, strength),
        "dense": refined(crf, logits, pixels[1]),
        "too_smooth": refined(smooth, logits, pixels[1]),
        "noisy": noisy.argmax(1),
        "noisy_short": short_range(noisy, STRENGTHS[2]),
        "noisy_dense": refined(crf, noisy, pixels[1]),
    }
    film = [
        miou(refined(dense(**best, smoothness=SMOOTHNESS, iterations=n), logits, pixels[1]), made)
        for n in range(1, FILM + 1)
    ]
    maps |= tuned(network, best, fine, seed, made, pixels[1])
    found = {name: scores(labels, made) for name, labels in maps.items()}
    found |= {
        "short_by_strength": {str(w): scores(short_range(logits, w), made) for w in STRENGTHS},
        "search": ranked,
        "chosen": best | {"strength": strength},
        "miou_by_iteration": film,
    }
    shown = [i for i in SHOWN if i < len(made)]
    return found, [maps[name][shown] for name in ("network", "short", "dense", "too_smooth")]


def tuned(
    network: nn.Module,
    best: dict,
    fine: Budget,
    seed: int,
    made: tuple[Scene, ...],
    pixels: Tensor,
) -> dict[str, Tensor]:
    """Label maps after as many steps more, alone (with and without a CRF then) and with the CRF."""
    start = {name: value.clone() for name, value in network.state_dict().items()}
    images = tensors(made)[0]
    train(network, fine, 1000 + seed)  # other crops than before
    logits = predict(network, images)
    crf = dense(**best, smoothness=SMOOTHNESS, iterations=ITERATIONS)
    found = {"longer": logits.argmax(1), "longer_dense": refined(crf, logits, pixels)}
    network.load_state_dict(start)
    whole = WithCRF(network, crf)
    train(whole, fine, 1000 + seed)
    return found | {"end_to_end": predict(whole, images, batch=1).argmax(1)}


def main() -> int:
    """Run every seed, print a row a method, and write the record and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="networks")
    parser.add_argument("--steps", type=int, default=1500, help="optimizer steps of each network")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/crf/refine.json"), help="record")
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps)
    budget = budget.quick() if args.quick else budget
    fine = replace(budget, learning_rate=RATE, steps=3 if args.quick else FINE_TUNING)
    runs, columns = [], []
    for seed in range(args.seeds):
        found, maps = refine(seed, budget, fine, 2 if args.quick else VALIDATION)
        runs.append({"seed": seed, **found})
        columns = columns or maps
        print(f"seed {seed}: chosen {found['chosen']}", flush=True)
    methods = [name for name, found in runs[0].items() if isinstance(found, dict)]
    for name in (name for name in methods if "miou" in runs[0][name]):
        keys = ("miou", "trimap_1px_miou", "trimap_3px_miou", "interior_miou")
        values = [f"{key} {spread([run[name][key] for run in runs])}" for key in keys]
        bars = spread([run[name]["iou"][SCENES.names.index("bar")] for run in runs])
        print(f"{name:<14}", "  ".join(values), " bars", bars, flush=True)

    config = asdict(budget) | {
        "quick": args.quick,
        "seeds": args.seeds,
        "validation_scenes": VALIDATION,
        "strengths": STRENGTHS,
        "searched": SEARCHED,
        "smoothness": SMOOTHNESS,
        "too_smooth": TOO_SMOOTH,
        "iterations": ITERATIONS,
        "noise": NOISE,
        "fine_tuning": asdict(fine),
        "shown": SHOWN,
    }
    command = ["python", "experiments/crf_refine.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, {"runs": runs}, [], seconds))
    rows = [torch.cat(list(column), dim=0) for column in columns]
    picture = Image.fromarray(torch.cat(rows, dim=1).numpy().astype(np.uint8), mode="P")
    picture.putpalette(np.array(SCENES.palette, np.uint8).tobytes())
    picture.save(args.out.with_suffix(".png"), optimize=True)
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
