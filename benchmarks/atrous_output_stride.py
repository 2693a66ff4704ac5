"""What a finer output stride costs: multiply-adds counted, peak memory measured.

    python benchmarks/atrous_output_stride.py --out results/atrous/output_stride.json

VGG16's and ResNet-50's convolutions, and VGG16 with fc6 and fc7, at output stride 32, 16 and 8 with
the same weights, on one image. Peak memory is the sum of all tensors alive at once, as torch's
allocator reports every allocation to its profiler; weights are not in it, their gradients are.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import nn

from segcourse import backbones, cost
from segcourse.dilate import dilate
from segcourse.fcn_networks import fcn_vgg16
from segcourse.records import record, write_record

OUTPUT_STRIDES = (32, 16, 8)
MIB = 2**20


def networks() -> dict[str, nn.Sequential]:
    """Strided networks; VGG16's head is FCN's, without the score layer."""
    fcn = fcn_vgg16(21)
    return {
        "VGG16, convolutions": nn.Sequential(*backbones.vgg16().stages),
        "VGG16 with fc6, fc7": nn.Sequential(*fcn.backbone.stages, fcn.head[:-1]),
        "ResNet-50": nn.Sequential(*backbones.resnet50().stages),
    }


def peak_bytes(model: nn.Sequential, image: torch.Tensor, backward: bool) -> tuple[int, float]:
    """Most bytes alive at once above the weights, and CPU seconds.

    In evaluation mode, as with frozen batch norms. Gradients of the weights are made in the pass.
    """
    model.eval().zero_grad(set_to_none=True)
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu], profile_memory=True) as profile:
        start = time.process_time()
        with torch.set_grad_enabled(backward):
            total = model(image).sum()
        if backward:
            total.backward()
        seconds = time.process_time() - start
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = highest = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()  # negative where memory is given back
        highest = max(highest, alive)
    return highest, seconds


def main() -> int:
    """Measure, print a row for each network and stride, and write the record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--only", help="one network, by the beginning of its name")
    parser.add_argument("--out", type=Path, help="write the record of this run, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)  # this script is the program, so the seed is its
    begun, rows, size = time.perf_counter(), [], (args.size, args.size)
    image = torch.randn(1, 3, *size)
    for name, strided in networks().items():
        if not name.startswith(args.only or ""):
            continue
        for output_stride in OUTPUT_STRIDES:
            model = dilate(strided, output_stride)
            row = {
                "network": name,
                "output_stride": output_stride,
                "parameters": cost.parameters(model),
                "multiply_adds_forward": cost.multiply_adds(model, size),
                "multiply_adds_backward": cost.backward_multiply_adds(model, size),
            }
            for way in ("forward", "backward"):
                found = peak_bytes(model, image, way == "backward")
                row[f"{way}_peak_bytes"], row[f"{way}_cpu_s"] = found
            row["gradient_bytes"] = sum(p.nbytes for p in model.parameters())
            rows.append(row)
            counted = [row[f"multiply_adds_{way}"] / 1e9 for way in ("forward", "backward")]
            peaks = [row[f"{way}_peak_bytes"] / MIB for way in ("forward", "backward")]
            print(
                f"{name:20s} stride {output_stride:2d}: {counted[0]:6.1f} and {counted[1]:6.1f} G "
                f"multiply-adds, peak {peaks[0]:6.0f} MiB forward, {peaks[1]:6.0f} with backward",
                flush=True,
            )
    if args.out:
        command = ["python", "benchmarks/atrous_output_stride.py", *sys.argv[1:]]
        config = {"size": args.size, "threads": args.threads, "batch": 1}
        seconds = time.perf_counter() - begun
        write_record(args.out, record(command, config, 0, {"rows": rows}, [], seconds))
        print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
