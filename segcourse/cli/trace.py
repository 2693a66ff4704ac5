"""Where the time of training steps went: a profiler's trace, added up by kinds of work.

The trace is what `torch.profiler` exports (Chrome's format): operators on host threads, and on a
GPU the kernels and copies that they launched. An operator counts with its own time, what it calls
left out. On a GPU nothing on the host counts: a kernel belongs to the operator that launched it,
and time in which no kernel runs is idle.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from segcourse.cli.stepping import BACKWARD, DATA, FORWARD, LOSS, OPTIMIZER

STEPS = "steps"
"""Name of the region around all steps; its length is what the shares are of."""

ON_HOST = ("cpu_op", "user_annotation")
LAUNCHES = ("cuda_runtime", "cuda_driver")
ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")

CONVOLUTION, NORM, RESIZE = "convolution", "norm", "resize"
ACTIVATION, JOINING, CASTS = "activation and pooling", "joining and padding", "casts"
AUGMENTATION, FUSED, TRANSFERS = "data and augmentation", "fused by the compiler", "transfers"
BETWEEN, OTHER, IDLE = "between operators", "other", "GPU idle"

# The first row with a word that is in an operator's name, in lower case.
WORDS = (
    (CASTS, ("_to_copy", "tocopy")),
    (LOSS, ("logsoftmax", "log_softmax", "nllloss", "nll_loss", "cross_entropy", "divbackward")),
    (CONVOLUTION, ("conv", "addmm", "aten::mm", "mmbackward", "aten::linear")),
    (NORM, ("batch_norm", "batchnorm", "group_norm", "groupnorm", "layer_norm", "layernorm")),
    (RESIZE, ("upsample", "grid_sampl", "gridsampl", "interpolat")),
    (ACTIVATION, ("relu", "threshold", "clamp_min", "pool", "dropout", "bernoulli", "sigmoid")),
    (JOINING, ("aten::cat", "catbackward", "pad", "slice")),
)


@dataclass(frozen=True)
class Breakdown:
    """What the time of some steps went into.

    wall: of all steps together, in microseconds.
    groups: kind of work to microseconds, the largest first. They add up to `wall`, but where
        kernels of two streams ran at once.
    top: (name, microseconds) of the operators, or on a GPU the kernels, that took most.
    on_gpu: whether kernels were counted, rather than operators.
    """

    wall: float
    groups: dict[str, float]
    top: list[tuple[str, float]]
    on_gpu: bool


def group(path: Sequence[str]) -> str:
    """The kind of work that an operator does.

    Args:
        path: names from the outermost region to the operator itself. The regions of data, loss and
            optimizer decide for all that is in them. Else it is a cast wherever one is on the path,
            and then the outermost name that says something: a copy inside a convolution is part
            of the convolution.

    Returns:
        A kind, "convolution forward" and "convolution backward" apart.

    >>> group(["steps", "forward", "aten::conv2d", "aten::convolution"])
    'convolution forward'
    >>> group(["autograd::engine::evaluate_function: ReluBackward0", "aten::threshold_backward"])
    'activation and pooling'
    """
    names = [name.lower() for name in path]
    if DATA in names:
        return AUGMENTATION
    if OPTIMIZER in names or any(name.startswith("optimizer.") for name in names):
        return OPTIMIZER
    if LOSS in names:
        return LOSS
    if any(name.startswith("triton_") or "cpp_fused" in name for name in names):
        return FUSED
    kinds = [kind for name in names if (kind := _kind(name))]
    if CASTS in kinds:
        return CASTS
    if kinds and kinds[0] == CONVOLUTION:
        back = BACKWARD in names or any("backward" in name for name in names)
        return f"{CONVOLUTION} {BACKWARD if back else FORWARD}"
    if kinds:
        return kinds[0]
    if not names or names[-1] in (STEPS, FORWARD, BACKWARD):
        return BETWEEN
    return FUSED if any("compiled" in name for name in names) else OTHER


def breakdown(events: Iterable[dict]) -> Breakdown:
    """Add up a trace.

    Args:
        events: "traceEvents" of the exported trace. One of them is the region STEPS; its thread is
            the one whose operators count where no kernel ran.

    Returns:
        The breakdown of what ran inside STEPS.

    Raises:
        ValueError: there is no such region.
    """
    whole = [event for event in events if event.get("ph") == "X" and "dur" in event]
    steps = [e for e in whole if e.get("cat") == "user_annotation" and e["name"] == STEPS]
    if not steps:
        raise ValueError(f"the trace has no region {STEPS!r}: open one around the steps")
    start, wall = steps[0]["ts"], steps[0]["dur"]
    inside = [e for e in whole if start <= e["ts"] <= start + wall]
    own = _own_times(e for e in inside if e.get("cat") in (*ON_HOST, *LAUNCHES))
    kernels = [e for e in inside if e.get("cat") in ON_GPU]

    groups: Counter[str] = Counter()
    names: Counter[str] = Counter()
    if kernels:
        by_launch = {_id(e, "correlation"): path for e, path, _ in own if e["cat"] in LAUNCHES}
        by_operator = {_id(e, "External id"): path for e, path, _ in own if e["cat"] in ON_HOST}
        by_launch[None] = by_operator[None] = ()  # what has no number has no launch that we know
        for kernel in kernels:
            path = by_launch.get(_id(kernel, "correlation"))
            path = path or by_operator.get(_id(kernel, "External id"), ())
            groups[_group_on_gpu(kernel, path)] += kernel["dur"]
            names[kernel["name"]] += kernel["dur"]
        groups[IDLE] = wall - _union((e["ts"], e["ts"] + e["dur"]) for e in kernels)
    else:
        for event, path, microseconds in own:
            if event["tid"] == steps[0]["tid"]:
                groups[group(path)] += microseconds
                names[event["name"]] += microseconds
    return Breakdown(wall, dict(groups.most_common()), names.most_common(10), bool(kernels))


def _kind(name: str) -> str | None:
    return next((kind for kind, words in WORDS if any(word in name for word in words)), None)


def _id(event: dict, key: str):
    return event.get("args", {}).get(key)


def _group_on_gpu(kernel: dict, path: Sequence[str]) -> str:
    if kernel["cat"] == "gpu_memcpy" and "DtoD" not in kernel["name"]:
        return TRANSFERS
    # A kernel that the compiler wrote says so itself; others say less than who launched them.
    kind = group((*path, kernel["name"]))
    return OTHER if kind == BETWEEN else kind


def _own_times(events: Iterable[dict]) -> list[tuple[dict, tuple[str, ...], float]]:
    """Each event with the names around it, itself last, and its time without what it encloses."""
    found: list[list] = []
    open_on: dict[object, list[list]] = {}
    for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
        around = open_on.setdefault(event["tid"], [])
        while around and _end(around[-1][0]) <= event["ts"]:
            around.pop()
        path = (*(around[-1][1] if around else ()), event["name"])
        entry = [event, path, event["dur"]]
        if around:
            around[-1][2] -= event["dur"]
        around.append(entry)
        found.append(entry)
    return [(event, path, max(own, 0)) for event, path, own in found]


def _end(event: dict) -> float:
    return event["ts"] + event["dur"]


def _union(spans: Iterable[tuple[float, float]]) -> float:
    """Length of what at least one of the spans covers."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
