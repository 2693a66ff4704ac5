"""The records that need CamVid: metrics of coarse labels, and two short runs on a CPU.

    make experiments CAMVID=path/to/CamVid        (or: python experiments/with_data/camvid.py PATH)

Writes results/index/metric_choice_camvid.json, and results/sliding_window/camvid_*.json from
`segcourse train` at 90x120 pixels. The folder's own path is not recorded.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from segcourse.records import write_record

EXPERIMENTS = Path(__file__).resolve().parent.parent
SHARED = "--data camvid --root CamVid --height 90 --width 120 --device cpu --lr 0.003"
RUNS = {
    "full_resolution": "--model full-resolution --batch 4 --steps 600 --eval-every 200",
    "patch": "--model patch --batch 256 --steps 800 --eval-every 400",
}


def main() -> None:
    """Make the three records, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("camvid", type=Path, help="folder with train/ trainannot/ and so on")
    parser.add_argument("--out", type=Path, help="results/ by default; runs/quick/ with --quick")
    parser.add_argument("--quick", action="store_true", help="4 steps: the numbers say nothing")
    args = parser.parse_args()
    args.out = args.out or EXPERIMENTS.parent / ("runs/quick" if args.quick else "results")
    choice = [sys.executable, EXPERIMENTS / "metric_choice.py", "--camvid", args.camvid.resolve()]
    choice += ["--out", args.out.resolve() / "index"] + ["--quick"] * args.quick
    subprocess.run(choice, check=True)
    with tempfile.TemporaryDirectory() as folder:
        # Runs in a folder of their own, under the name that the record gives to the data.
        (Path(folder) / "CamVid").symlink_to(args.camvid.resolve(), target_is_directory=True)
        for name, flags in RUNS.items():
            words = f"train {SHARED} {flags} --out runs/{name}".split()
            if args.quick:
                words += ["--steps", "4", "--eval-every", "0"]
            subprocess.run([sys.executable, "-m", "segcourse", *words], cwd=folder, check=True)
            made = json.loads((Path(folder) / "runs" / name / "record.json").read_text())
            made["command"] = " ".join(["segcourse", *words])
            write_record(args.out / "sliding_window" / f"camvid_{name}.json", made)


if __name__ == "__main__":
    main()
