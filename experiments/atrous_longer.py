"""The rates experiment's mixed stacks, trained three times as long (atrous).

    python experiments/atrous_longer.py

In results/atrous/rates.json the widest field is not the best one. Is it too wide, or not trained
long enough? The same networks, crops and first weights as in `atrous_rates.py`, with three times
the steps. Writes results/atrous/longer.json; `--quick` is a smoke run.
"""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from atrous_rates import WIDTH, build, show
from shared.command_line import parsed
from shared.dense_on_scenes import Budget, evaluate, train

from segcourse.receptive_field import receptive_field
from segcourse.records import record, write_record

STACKS = ((1, 1, 2, 3, 3), (1, 2, 3, 4, 5), (1, 2, 4, 5, 8))


def main() -> int:
    """Train and evaluate each network, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network")
    parser.add_argument("--steps", type=int, default=2100, help="optimizer steps of each run")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/atrous/longer.json"))
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps)
    budget = budget.quick() if args.quick else budget
    rows = [{"rates": rates, "runs": []} for rates in STACKS]
    for seed in range(args.seeds):
        for row in rows:
            net = build(row["rates"], seed)
            row["field_px"] = receptive_field(net.front_end).size
            seconds = train(net, budget, seed)
            found = evaluate(net, budget.test_scenes)
            row["runs"].append({"seed": seed, **found, "training_cpu_s": seconds})
            show(row["rates"], row["runs"][-1:])
    config = asdict(budget) | {"quick": args.quick, "seeds": args.seeds, "width": WIDTH}
    command = ["python", "experiments/atrous_longer.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, {"stacks": rows}, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
