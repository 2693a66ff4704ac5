"""What a run leaves to be read: a log while it goes, and a record of what was measured.

A record holds the command, configuration, versions, hardware, seed and date beside the numbers,
so that a number on a page (as in book/sliding_window.ipynb) can be traced and made again.
"""

import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

import segcourse
from segcourse.checkpoints import write_bytes


class RunLog:
    """A run's log: `log.jsonl`, one JSON object a line, and the same numbers for TensorBoard.

    Opening it at a step drops the lines past that step, which a killed run wrote after its last
    checkpoint, and a last line cut short; they are written anew. Without a folder lines are kept
    in `lines` alone.
    """

    def __init__(self, out: Path | None, step: int):
        self.lines: list[dict] = []
        self._file = self._board = None
        if out is None:
            return
        path = out / "log.jsonl"
        if path.exists():
            self.lines = [line for line in _read_lines(path) if line["step"] <= step]
            kept = "".join(json.dumps(line) + "\n" for line in self.lines)
            write_bytes(path, kept.encode())
        self._file = path.open("a", encoding="utf-8")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print(
                f"tensorboard is not installed: {path} has the same numbers; "
                "pip install tensorboard to see curves",
                file=sys.stderr,
            )
        else:
            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def write(self, **numbers) -> None:
        """Append a line; `step` is one of the numbers, others are numbers or lists of them."""
        line = plain(numbers)
        self.lines.append(line)
        if self._file:
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
        if self._board:
            for name, value in line.items():
                if name != "step" and isinstance(value, int | float):
                    self._board.add_scalar(name, value, line["step"])

    def sync(self) -> None:
        """Force the lines to disk, before the checkpoint that counts on them."""
        if self._file:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close both files."""
        for file in (self._file, self._board):
            if file:
                file.close()


def record(
    command: str | Sequence[str],
    config,
    seed: int,
    metrics: dict,
    curve: Sequence[dict],
    seconds: float,
    images_per_second: float | None = None,
    device: torch.device | None = None,
) -> dict:
    """Put a run's numbers beside everything that is needed to make them again.

    Args:
        command: what was typed; words are quoted for the shell.
        config: the run's dataclass, or a dict.
        seed: of everything random in it.
        metrics: what was measured, names to numbers, lists, tensors or dicts of them.
        curve: the log's lines.
        seconds: wall clock of the run.
        images_per_second: throughput, or None where there is none.
        device: where it ran; None: the CPU.

    Returns:
        A dict for `write_record`: the arguments, `versions`, `hardware`, `date` (UTC, ISO 8601)
        and `peak_memory_mib` (of the GPU where one was used, else of this process).
    """
    device = device or torch.device("cpu")
    return {
        "command": command if isinstance(command, str) else shlex.join(command),
        "config": asdict(config) if is_dataclass(config) else dict(config),
        "seed": seed,
        "metrics": metrics,
        "curve": list(curve),
        "seconds": seconds,
        "images_per_second": images_per_second,
        "peak_memory_mib": peak_memory_mib(device),
        "versions": {
            "segcourse": segcourse.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "torchvision", "numpy")},
        },
        "hardware": _hardware(device),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_record(path: str | Path, record: dict) -> None:
    """Write a record as JSON, at once: keys sorted, floats to six digits, nan and inf as null."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain(record), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def plain(value):
    """Turn tensors, arrays and tuples into what JSON holds.

    Floats are rounded to six significant digits: more would only record the order of a sum.

    >>> plain({"miou": torch.tensor(2 / 3), "iou": (0.5, float("nan"))})
    {'miou': 0.666667, 'iou': [0.5, None]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # a tensor, an array, or a scalar of numpy
        return plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Path | torch.device):
        return str(value)
    raise TypeError(
        f"a record holds numbers, strings, lists and dicts, not {type(value).__name__}: convert it"
    )


def _read_lines(path: Path) -> list[dict]:
    """The lines of a log, without those that are no JSON object with a step."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "step" in line:
            lines.append(line)
    return lines


def _hardware(device: torch.device) -> dict:
    found = {"cpu": _cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        found |= {"gpu": gpu.name, "gpu_memory_mib": gpu.total_memory // 2**20}
    return found


def _cpu_name() -> str:
    """The processor's name; `platform` knows only its family on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def peak_memory_mib(device: torch.device) -> float | None:
    """The most memory so far: of the GPU since its statistics were reset, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
