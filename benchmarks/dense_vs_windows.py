"""One window a pixel against one dense pass of the same weights, on the CPU.

    python benchmarks/dense_vs_windows.py --out results/sliding_window/dense_vs_windows.json

Every window of a 256x256 image, stride 1, is classified both ways: alone, in batches, and by one
dense pass over the image padded by half a window. All of it is timed, nothing is scaled up. The
two ways take turns, the median of each is kept, and their logits are asserted to be equal.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from segcourse.records import record, write_record
from segcourse.sliding_window import PatchClassifier, classify_windows, dense, reflect_pad
from segcourse.window_cost import predicted_ratio

# float32 sums in another order: the identity itself is held in float64 by the tests.
TOLERANCE = 1e-3


def timed(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Wall-clock seconds of one call, and what it returned."""
    start = time.perf_counter()
    out = run()
    return time.perf_counter() - start, out


def compare(window: int, side: int, width: int, repeats: int, chunk: int) -> dict[str, float]:
    """Time both ways at one window size; fail where their logits differ."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, side, side, generator=generator)
    net = PatchClassifier(window, num_classes=8, width=width).eval()
    torch.nn.init.normal_(net.layers[-1].weight, generator=generator)
    padded = reflect_pad(image, window // 2)
    dense(net, padded)  # the first call also chooses and packs the kernels
    slow, fast = [], []
    for _ in range(repeats):
        # The fast pass is short beside the machine's hiccups: five of them for each slow one.
        batch = [timed(lambda: dense(net, padded)) for _ in range(5)]
        fast += [seconds for seconds, _ in batch]
        seconds, one_by_one = timed(lambda: classify_windows(net, padded, chunk))
        slow.append(seconds)
        difference = ((one_by_one - batch[0][1]).abs().max() / one_by_one.std()).item()
        assert difference < TOLERANCE, f"window {window}: logits differ by {difference}"
    return {
        "window": window,
        "predicted": predicted_ratio(net, tuple(padded.shape[2:])),
        "measured": statistics.median(slow) / statistics.median(fast),
        "slow_s": statistics.median(slow),
        "fast_s": statistics.median(fast),
        "difference": difference,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, nargs="+", default=[9, 21, 31])
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels")
    parser.add_argument("--width", type=int, default=16, help="channels of every hidden layer")
    parser.add_argument("--repeats", type=int, default=3, help="times that the slow way runs")
    parser.add_argument("--chunk", type=int, default=256, help="windows in one batch")
    # On a busy machine two threads mostly time how long they wait for each other.
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, help="write the record of this run, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"{args.size}x{args.size} image, {args.size**2} windows, stride 1, width {args.width}; "
        f"torch {torch.__version__}, {args.threads} thread(s); medians of {args.repeats} runs"
    )
    print("window  one a pixel  dense pass  predicted  measured  largest difference (in std)")
    start, rows = time.perf_counter(), []
    with torch.inference_mode():
        for window in args.windows:
            row = compare(window, args.size, args.width, args.repeats, args.chunk)
            print(
                f"{row['window']:>6}  {row['slow_s']:>9.2f} s  {1000 * row['fast_s']:>7.1f} ms  "
                f"{row['predicted']:>8.1f}x {row['measured']:>8.1f}x  {row['difference']:.1e}",
                flush=True,
            )
            rows.append(row)
    if args.out:
        config = {name: value for name, value in vars(args).items() if name != "out"}
        command = ["python", "benchmarks/dense_vs_windows.py", *sys.argv[1:]]
        seconds = time.perf_counter() - start
        write_record(args.out, record(command, config, 0, {"windows": rows}, [], seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
