"""Checkerboards before and after training, for four ways to enlarge a map (upsampling).

    python experiments/checkerboard.py

A small decoder learns to paint scenes at full size from scenes shrunk by four. Nothing changes
between the networks but the layer that enlarges. Measured at several steps: the grid that they
paint on patches of one colour, and the share of their pictures' variance that repeats with the
stride. Writes results/upsampling/checkerboard.json; `--quick` is a smoke run of seconds.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from shared.command_line import parsed
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, mse_loss

from segcourse.checkerboard import grid_energy
from segcourse.cost import parameters
from segcourse.data import scene
from segcourse.doubling import LAYERS, PERIOD, decoder, grid_on_colours
from segcourse.records import record, write_record

CROP, BATCH, RATE, BORDER = 64, 8, 3e-3, 16


def pictures(length: int, split: str) -> Tensor:
    """(N, 3, 128, 128) float in -0.5..0.5."""
    images = [scene(0, i, split=split).image for i in range(length)]
    return torch.stack(images).float() / 255 - 0.5


def measure(net: nn.Module, test: Tensor, colours: Tensor) -> dict[str, float]:
    """The grid on flat patches in grey levels of 255, and of pictures: share and error."""
    inner = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    with torch.no_grad():
        painted = net(avg_pool2d(test, PERIOD))[inner]
    return {
        "flat_grid_grey_levels": 255 * grid_on_colours(net, colours).item(),
        "grid_energy": grid_energy(painted, PERIOD).mean().item(),
        "rmse_grey_levels": 255 * mse_loss(painted, test[inner]).sqrt().item(),
    }


def one_run(name: str, seed: int, steps: list[int], train: Tensor, test: Tensor) -> dict:
    """Train one decoder and measure it at each of `steps`."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.rand(64, 3, generator=torch.Generator().manual_seed(1000)) - 0.5
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = decoder(LAYERS[name])
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    found, start = [], time.process_time()
    for step in range(steps[-1] + 1):
        if step in steps:
            found.append({"step": step, **measure(net, test, colours)})
        chosen = torch.randint(len(train), (BATCH,), generator=generator)
        row, col = torch.randint(0, 128 - CROP + 1, (2,), generator=generator).tolist()
        target = train[chosen][..., row : row + CROP, col : col + CROP]
        loss = mse_loss(net(avg_pool2d(target, PERIOD)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"seed": seed, "steps": found, "training_cpu_s": time.process_time() - start}


def main() -> int:
    """Run every layer and seed, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="runs of each layer")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--out", type=Path, default=Path("results/upsampling/checkerboard.json"), help="record"
    )
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    steps = [0, 4] if args.quick else [0, 100, 300, 1000, 3000]
    train, test = (pictures(8, "train"), pictures(2, "test"))
    if not args.quick:
        train, test = pictures(500, "train"), pictures(50, "test")
    rows = []
    for name in LAYERS:
        runs = [one_run(name, seed, steps, train, test) for seed in range(args.seeds)]
        rows.append({"layer": name, "parameters": parameters(decoder(LAYERS[name])), "runs": runs})
        for i in (0, -1):
            last = [run["steps"][i] for run in runs]
            keys = [key for key in last[0] if key != "step"]
            values = {key: sorted(f"{one[key]:.4g}" for one in last) for key in keys}
            print(name, f"step {last[0]['step']}", values, flush=True)
    inner = test[..., BORDER:-BORDER, BORDER:-BORDER]
    metrics = {"layers": rows, "grid_energy_of_the_scenes": grid_energy(inner, PERIOD).mean()}
    config = {"steps": steps, "crop": CROP, "batch": BATCH, "learning_rate": RATE}
    config |= {"train_scenes": len(train), "test_scenes": len(test), "seeds": args.seeds}
    config |= {"period": PERIOD, "quick": args.quick, "threads": args.threads}
    command = ["python", "experiments/checkerboard.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, metrics, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
