"""One set of weights at output stride 32, 16 and 8, and networks trained at each (atrous).

    python experiments/atrous_output_stride.py

A light front end is trained at stride 32. Then its strides become holes, step by step, and nothing
is trained again; and, to fail on purpose, its strides are taken out without any holes. Beside it:
front ends trained at stride 16 and 8, and one at 8 with a context module plugged in behind. Writes
results/atrous/output_stride_scenes.json; `--quick` is a smoke run.
"""

import argparse
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from shared.command_line import parsed
from shared.dense_on_scenes import Budget, K, evaluate, scenes, tensors, train
from shared.windows_on_scenes import spread
from torch import nn

from segcourse.context_module import context_basic
from segcourse.cost import multiply_adds, parameters
from segcourse.dilate import dilate
from segcourse.dilated_networks import LIGHT_RATES, DilatedNet, front_end_light, plug_in
from segcourse.records import record, write_record

OUTPUT_STRIDES = (32, 16, 8)


def build(output_stride: int, seed: int, context: bool = False) -> DilatedNet:
    """The light front end of this seed; its first weights do not depend on the stride."""
    torch.manual_seed(seed)  # this script is the program, so the seed is its
    front_end = front_end_light(K, output_stride)
    return DilatedNet(front_end, K, context_basic(K, LIGHT_RATES) if context else None)


def without_holes(network: nn.Sequential, output_stride: int) -> nn.Sequential:
    """The mistake: strides taken out, and the kernels after them as they were."""
    wrong = dilate(network, output_stride)
    for layer in wrong.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding = tuple(
                p // r for p, r in zip(layer.padding, layer.dilation, strict=True)
            )
            layer.dilation = (1, 1)
    return wrong


def same_labels(one: DilatedNet, other: DilatedNet, images: torch.Tensor) -> float:
    """Share of pixels to which two networks give the same class."""
    with torch.no_grad():
        return (one(images).argmax(1) == other(images).argmax(1)).double().mean().item()


def main() -> int:
    """Train and evaluate each network, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network")
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps of each run")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--out", type=Path, default=Path("results/atrous/output_stride_scenes.json")
    )
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps)
    budget = budget.quick() if args.quick else budget
    # What is added to a trained network, or trained on for comparison, gets half of the steps.
    more = replace(budget, steps=max(1, budget.steps // 2), learning_rate=budget.learning_rate / 2)
    images, _ = tensors(scenes(min(16, budget.test_scenes), "test"))
    runs: dict[str, list] = {}

    def note(name: str, net: DilatedNet, seed: int, **extra: object) -> None:
        found = evaluate(net.eval(), budget.test_scenes) | extra
        found |= {"parameters": parameters(net), "multiply_adds": multiply_adds(net, (128, 128))}
        runs.setdefault(name, []).append({"seed": seed, **found})
        show(name, runs[name][-1:])

    for seed in range(args.seeds):
        trained = {}
        for output_stride in OUTPUT_STRIDES:
            trained[output_stride] = build(output_stride, seed)
            seconds = train(trained[output_stride], budget, seed)
            note(f"trained_{output_stride}", trained[output_stride], seed, training_cpu_s=seconds)
        strided = trained[32].front_end
        for output_stride in OUTPUT_STRIDES[1:]:
            note(
                f"same_weights_{output_stride}", DilatedNet(dilate(strided, output_stride), K), seed
            )
            wrong = without_holes(strided, output_stride)
            note(f"no_holes_{output_stride}", DilatedNet(wrong, K), seed)
        behind = build(8, seed, context=True)
        plug_in(trained[8], behind)
        behind.eval()
        extra = {"same_labels_at_start": same_labels(trained[8], behind, images)}
        seconds = train(behind, more, seed + 100)
        note("context", behind, seed, training_cpu_s=seconds, **extra)
        seconds = train(trained[8], more, seed + 100)
        note("trained_8_longer", trained[8], seed, training_cpu_s=seconds)
    for name, found in runs.items():
        show(name, found)
    config = asdict(budget) | {
        "quick": args.quick,
        "seeds": args.seeds,
        "more_steps": more.steps,
        "more_learning_rate": more.learning_rate,
        "context_rates": LIGHT_RATES,
    }
    command = ["python", "experiments/atrous_output_stride.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, {"networks": runs}, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


def show(name: str, runs: list[dict]) -> None:
    """One line of means and half ranges."""
    chosen = ("miou", "trimap_3px_miou", "interior_miou", "pair_told_apart")
    columns = [f"{key} {spread([run[key] for run in runs])}" for key in chosen]
    print(f"{name:<18}" + "  ".join(columns), flush=True)


if __name__ == "__main__":
    sys.exit(main())
