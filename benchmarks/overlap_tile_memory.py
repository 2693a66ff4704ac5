"""Peak memory of a U-Net over an image as a whole and by tiles, as the image grows.

    python benchmarks/overlap_tile_memory.py

The image and the label map lie in files that are mapped, and pages of mapped files are not
counted: what is measured is what the network needs. Each size is a process of its own. The labels
of both ways are compared where the whole image fits. Writes the record with `--out`. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from segcourse.data.augment import normalise
from segcourse.overlap_tile import label_by_tile, measure
from segcourse.records import record, write_record
from segcourse.unet import UNet, double_conv_norm

DEPTH, WIDTH, K = 3, 8, 8
TILE = 512
SIZES = (1024, 2048, 4096, 8192)
WHOLE_UP_TO = 2048


def resident_mib() -> float:
    """Memory of this process now, MiB, without pages of mapped files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


class Watch:
    """The highest `resident_mib` while it is open, looked at every few milliseconds."""

    def __enter__(self):
        self.before = self.peak = resident_mib()
        self.open = True
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        return self

    def look(self) -> None:
        """Look until closed."""
        while self.open:
            self.peak = max(self.peak, resident_mib())
            time.sleep(0.002)

    def __exit__(self, *_):
        self.open = False
        self.thread.join()


def mapped(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    """A file of bytes as a tensor; made where it is not there."""
    count = 1
    for n in shape:
        count *= n
    return torch.from_file(str(path), shared=True, size=count, dtype=torch.uint8).reshape(shape)


def network() -> UNet:
    """The same weights in every process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)  # this script is the program, so the seed is its
    return UNet(3, K, DEPTH, WIDTH, block=double_conv_norm).eval()


def one(side: int, tile: int, margin: int, folder: Path) -> None:
    """Label one image in this process, and print what it took as JSON."""
    net, by_tile = network(), tile < side
    image = mapped(folder / f"image-{side}", (3, side, side))
    out = mapped(folder / f"labels-{side}-{by_tile}", (side, side))

    def read(rows: slice, cols: slice) -> torch.Tensor:
        return normalise(image[None, :, rows, cols].float() / 255)

    start = time.perf_counter()
    with Watch() as watch:
        label_by_tile(net, read, (side, side), tile, margin, 2**DEPTH, out=out)
    took = {"seconds": time.perf_counter() - start}
    print(json.dumps({"before_mib": watch.before, "peak_mib": watch.peak, **took}))


def main() -> int:
    """Measure every size in a process of its own, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="sides in px")
    parser.add_argument("--out", type=Path, help="write the record here")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(*map(int, args.one[:3]), Path(args.one[3]))
        return 0
    start, rows = time.perf_counter(), []
    found = measure(network())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side in args.sizes:
            image = mapped(folder / f"image-{side}", (3, side, side))
            generator = torch.Generator().manual_seed(0)
            for channel in image:
                channel.copy_(torch.randint(0, 256, (side, side), generator=generator))
            for way in ("whole", "tiles"):
                if way == "whole" and side > WHOLE_UP_TO:
                    continue
                tile, margin = (TILE, found.margin) if way == "tiles" else (side, 0)
                words = [str(n) for n in (side, tile, margin)]
                command = [sys.executable, __file__, "--one", *words, name]
                run = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append({"side_px": side, "way": way, **json.loads(run.stdout)})
                row = rows[-1]
                grown = row["peak_mib"] - row["before_mib"]
                print(
                    f"{side:5d} px {way:6s} {grown:7.0f} MiB above {row['before_mib']:.0f}, "
                    f"{row['seconds']:.1f} s",
                    flush=True,
                )
            if side <= WHOLE_UP_TO:
                labels = [
                    mapped(folder / f"labels-{side}-{w}", (side, side)) for w in (True, False)
                ]
                rows[-1]["agrees_with_whole"] = (labels[0] == labels[1]).double().mean().item()
                print(f"         labels agree at {rows[-1]['agrees_with_whole']:.6f} of the pixels")
            for path in folder.iterdir():
                path.unlink()
    if args.out:
        config = {
            "depth": DEPTH,
            "width": WIDTH,
            "classes": K,
            "tile_px": TILE,
            "margin_px": found.margin,
            "reach_px": found.reach,
        }
        command = ["python", "benchmarks/overlap_tile_memory.py", *sys.argv[1:]]
        seconds = time.perf_counter() - start
        write_record(args.out, record(command, config, 0, {"rows": rows}, [], seconds))
        print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
