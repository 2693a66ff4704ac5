"""AlexNet on every crop of a grid against one convolutionalized pass over the image, on the CPU.

    python benchmarks/fcn_vs_crops.py --out results/fcn/fcn_vs_crops.json

The paper's timing (Long et al. 2015, section 3.1), forward and backward, on a 500x500 image. All
of it is timed, nothing is scaled up. The two ways take turns, and the medians are compared.

As torchvision has it, AlexNet takes 224 pixels and pads inside: 81 crops fit at stride 32, in 9
rows and columns, and one pass gives a 9x9 grid. The paper has 10x10 because Caffe's pools round
up, so that a tenth window begins inside the image. The grid's logits are not those of the crops:
where a crop ends its layers see zeros, and the pass sees the neighbouring pixels. The record says
how far apart they are ("padded").

Equal logits, which are asserted, need a network that does not pad. Its window is all that a unit
sees, 355 pixels. With the zeros once around the image the 81 windows lie at the same places, and
see the same pixels, as the units of the padded network ("padded once"); with none, 25 windows lie
wholly inside the image ("unpadded").
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision import models

from segcourse.convolutionalize import DenseClassifier, convolutionalize, unpadded
from segcourse.cost import multiply_adds
from segcourse.fcn_networks import he_initialise
from segcourse.receptive_field import output_size, receptive_field
from segcourse.records import record, write_record
from segcourse.sliding_window import windows

# float32 sums in another order: the identity itself is held in float64 by the tests.
TOLERANCE = 1e-3
TIMES = ("forward", "backward", "both")


def timed(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Wall-clock seconds of one call, and what it returned."""
    start = time.perf_counter()
    out = run()
    return time.perf_counter() - start, out


def compare(net: DenseClassifier, image: Tensor, repeats: int) -> dict[str, object]:
    """Time both ways, forward and backward, and measure how far their logits are apart."""
    stride = receptive_field(net.layers).stride
    crops = windows(image, net.size[0], stride)[0]
    seconds: dict[str, list[tuple[float, float]]] = {"pass": [], "crops": []}
    logits = {}
    for repeat in range(repeats + 1):
        for way, x in (("pass", image), ("crops", crops)):
            net.zero_grad(set_to_none=True)
            forward, out = timed(lambda x=x: net(x))
            backward, _ = timed(lambda out=out: out.sum().backward())
            logits[way] = out.detach().flatten(2).mT.flatten(0, 1)  # (windows, K)
            if repeat:  # the first round also chooses and packs the kernels
                seconds[way].append((forward, backward))
    median = {
        way: {
            "forward_s": statistics.median(forward for forward, _ in both),
            "backward_s": statistics.median(backward for _, backward in both),
            "both_s": statistics.median(map(sum, both)),
        }
        for way, both in seconds.items()
    }
    difference = (logits["pass"] - logits["crops"]).abs() / logits["crops"].std()
    same = logits["pass"].argmax(1) == logits["crops"].argmax(1)
    adds = multiply_adds(net, net.size) * len(crops) / multiply_adds(net, tuple(image.shape[2:]))
    times = {name: median["crops"][f"{name}_s"] / median["pass"][f"{name}_s"] for name in TIMES}
    return {
        "window": net.size[0],
        "stride": stride,
        "image": image.shape[2],
        "crops": len(crops),
        "predicted": adds,
        **times,
        "seconds": median,
        "difference_mean": difference.mean().item(),
        "difference_max": difference.max().item(),
        "same_class": same.double().mean().item(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", type=int, default=500, help="side of the image in pixels, from 355 up"
    )
    parser.add_argument("--repeats", type=int, default=5, help="times that each way runs")
    # On a busy machine two threads mostly time how long they wait for each other.
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, help="write the record of this run, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    start = time.perf_counter()
    padded = convolutionalize(models.alexnet(weights=None)).eval()
    he_initialise(padded)
    image = torch.randn(1, 3, args.size, args.size, generator=torch.Generator().manual_seed(1))
    print(
        f"AlexNet, {args.size}x{args.size} image; torch {torch.__version__}, {args.threads} "
        f"thread(s); medians of {args.repeats} runs"
    )
    print("     padding  window  crops  predicted  forward  backward     both  difference (in std)")
    # Zeros where the padded network's outermost units look past the image, and no more.
    field, cells = receptive_field(padded.layers), output_size(padded.layers, (args.size,) * 2)[0]
    ends = (-field.span(0)[0], field.span(cells - 1)[1] - args.size)
    bare = unpadded(padded)
    cases = {
        "padded": (padded, image),
        "padded once": (bare, torch.nn.functional.pad(image, ends * 2)),
        "unpadded": (bare, image),
    }
    rows = {}
    for name, (net, x) in cases.items():
        row = rows[name] = compare(net, x, args.repeats)
        print(
            f"{name:>12} {row['window']:>7} {row['crops']:>6} {row['predicted']:>9.1f}x "
            f"{row['forward']:>7.1f}x {row['backward']:>8.1f}x {row['both']:>7.1f}x  "
            f"mean {row['difference_mean']:.1e}, largest {row['difference_max']:.1e}",
            flush=True,
        )
        equal = row["difference_max"] < TOLERANCE
        assert equal == (net is bare), f"{name}: logits differ by {row['difference_max']}"
    if args.out:
        config = {name: value for name, value in vars(args).items() if name != "out"}
        command = ["python", "benchmarks/fcn_vs_crops.py", *sys.argv[1:]]
        seconds = time.perf_counter() - start
        write_record(args.out, record(command, config, 0, rows, [], seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
