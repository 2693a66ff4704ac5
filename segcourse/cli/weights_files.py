"""From a run to a folder of small weights, and from such a folder back to its numbers.

A number in a card is measured from the file that lies beside it, never taken from training: halves
round, and a wrong file would show.
"""

import hashlib
import json
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

from segcourse import checkpoints, cost, weights
from segcourse.cli.runs import FILE, Run, load_run, start_of
from segcourse.cli.sources import open_split
from segcourse.cli.suite_data import has_test
from segcourse.cli.suite_measure import measure
from segcourse.cli.weights_card import NOT_FOR, NOTES, card
from segcourse.config import Config
from segcourse.data import GENERATED
from segcourse.data.pack import content_hash
from segcourse.data.resident import ResidentSet
from segcourse.errors import DataError, UsageError
from segcourse.pretrained import CARD, FORMAT, MODEL, RECORD, build
from segcourse.records import plain, record, write_record

LIMIT = 8_000_000
"""Bytes of a file of weights; they are made to be committed."""

STATISTICS = ("running_mean", "running_var")
"""Batch norm's, which stay float32: a variance may be smaller than any half, or larger."""


def export(
    run_dir: Path,
    name: str,
    out: Path,
    root: str | None = None,
    licence: str | None = None,
    note: str | None = None,
    replaced: bool = False,
) -> dict:
    """Write the folder `out`/`name` from a run's best checkpoint, and measure it.

    Args:
        run_dir: output folder of `segcourse train`, or one of a suite's trained/.
        name: of the weights, and of their folder.
        out: holds the folder.
        root: of the data; None: the run's own.
        licence: what the data's terms allow, for data of which NOTES knows nothing.
        note: one more line among the limits; None: none.
        replaced: write over a folder of this name.

    Returns:
        The record, as written.

    Raises:
        UsageError: the network is not small, the folder is there, or the licence is not stated.
        DataError: no run, no record of it, no data, or weights that halves cannot hold.
    """
    target = out / name
    if target.exists() and not replaced:
        raise UsageError(f"{target} is there already: give another --name, or --replace")
    if target.exists() and not (target / RECORD).is_file():
        raise UsageError(
            f"{target} is no folder of weights, and --replace would remove it: give another --name"
        )
    run = load_run(run_dir, torch.device("cpu"))
    data, config = run.config.data, run.config
    model = build(config.model, len(run.classes))
    if licence is None and data not in NOTES:
        raise UsageError(
            f"the terms of {data} are not known here: say with --licence what they allow, the card "
            f"needs it (known: {', '.join(NOTES)})"
        )
    trained = _training(run, run_dir)
    content = weights.to_bytes(halves(run.trained.state_dict(), run.weights))
    if len(content) > LIMIT:
        raise UsageError(
            f"{config.model} takes {len(content):,} bytes as fp16, and {LIMIT:,} is the most for "
            "weights that are committed: export a light network"
        )
    root = config.root if root is None else root
    size = run.size if config.height or data in GENERATED else None
    partial = out / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        checkpoints.write_bytes(partial / MODEL, content)
        weights.load(model, partial / MODEL)
        started = perf_counter()
        splits = ("val", "test") if has_test(data, root) else ("val",)
        metrics: dict = {"val": None, "test": None}
        identity: dict = {"name": data, "size": size}
        identity["train"] = {"images": _train_images(run_dir)}
        for split in splits:
            resident = ResidentSet.load(open_split(data, root, split, size))
            metrics[split] = measured(model.eval(), resident, data)
            identity[split] = hashes(resident)
        notes = NOTES.get(data)
        made = record(
            _command(name, data),
            replace(config, root=Path(root).name, out="", start=""),
            config.seed,
            metrics,
            [],
            perf_counter() - started,
        ) | {
            "format": FORMAT,
            "name": name,
            "model": config.model,
            "parameters": cost.parameters(model),
            "classes": asdict(run.classes),
            "size": run.size,
            "file": {
                "name": MODEL,
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            },
            "data": identity,
            "training": trained,
            "shows": f"Data set {data}." if notes is None else notes.shows,
            "splits": "" if notes is None else notes.splits,
            "licence": licence or notes.licence,
            "limits": [
                *(() if notes is None else notes.limits),
                *(() if note is None else (note,)),
                NOT_FOR,
            ],
        }
        write_record(partial / RECORD, made)
        made = json.loads((partial / RECORD).read_text(encoding="utf-8"))
        (partial / CARD).write_text(card(made), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        return made
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def halves(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Round a model's tensors to float16; integers and batch norm's statistics stay as they are.

    Raises:
        DataError: a number is too large for a half, or is none.
    """
    rounded = {}
    for name, tensor in state.items():
        keep = not tensor.is_floating_point() or name.rsplit(".", 1)[-1] in STATISTICS
        rounded[name] = tensor if keep else tensor.half()
        if tensor.is_floating_point() and not rounded[name].isfinite().all():
            largest = tensor.abs().max().item()
            raise DataError(
                f"{file}: {name} holds {largest:g}, and fp16 ends at 65,504: this run diverged, "
                "or is no network to keep as fp16"
            )
    return rounded


def measured(model: nn.Module, resident: ResidentSet, data: str) -> dict:
    """Every metric of a split, as the suite's records have them, without the clock."""
    found = measure(model, resident, "fp32", data)
    del found["images_per_second"]
    return plain(found)


def hashes(resident: ResidentSet) -> dict:
    """Name a split by its content: images, the hash of pixels and labels, and of labels alone."""
    labels = hashlib.sha256(resident.labels.contiguous().numpy()).hexdigest()
    whole = content_hash(zip(resident.images, resident.labels, strict=True))
    return {"images": len(resident), "sha256": whole, "labels_sha256": labels}


def numbers(metrics: dict) -> dict[str, float | None]:
    """The numbers of a split that are held against the card, by their names."""
    found = {
        "mean IoU": metrics["miou"],
        "pixel accuracy": metrics["pixel_accuracy"],
        "mean IoU near borders": metrics["trimap"]["miou"],
        **{f"IoU of {name}": value for name, value in metrics["iou"].items()},
    }
    if "objects" in metrics:
        found["adapted Rand error"] = metrics["objects"]["adapted_rand_error"]
    return found


def _command(name: str, data: str) -> str:
    words = ["segcourse", "weights", "check", name]
    roots = {"camvid": "CamVid", "isbi": "ISBI"}
    return shlex.join(words if data in GENERATED else [*words, "--root", roots.get(data, "DATA")])


def _training(run: Run, run_dir: Path) -> dict:
    """What the run's own record says of its training, and which checkpoint was chosen."""
    found = _record_of(run_dir, run.config)
    if found is None:
        raise DataError(
            f"{run_dir} has no record.json of its own: the run has not ended; "
            f"`segcourse train --resume --out {run_dir}` goes on with it"
        )
    chosen = checkpoints.read(run.weights.parent)
    told = {key: found[key] for key in ("command", "seconds", "date", "hardware", "versions")}
    told["curve"] = [
        {"step": line["step"], "val_miou": line["miou"]}
        for line in found["curve"]
        if "miou" in line
    ]
    told["chosen"] = {"step": chosen.step, "val_miou": chosen.score}
    told["start"] = start_of(run_dir)
    if told["start"] is not None:
        before = _record_of(Path(run.config.start), None)
        told["start"]["command"] = None if before is None else before["command"]
    return told


def _record_of(run_dir: Path, config: Config | None) -> dict | None:
    """The record of a run, where it lies beside it; with `config`, only a record of that run.

    Raises:
        DataError: it is not what `segcourse.records` writes.
    """
    # A suite keeps the record of OUT/trained/NAME-s0 as OUT/NAME-s0.json. A link to it is followed.
    folder = run_dir.resolve()
    for path in (folder / "record.json", folder.parent.parent / f"{folder.name}.json"):
        if not path.is_file():
            continue
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            for key in ("command", "seconds", "date", "hardware", "versions", "curve"):
                found[key]
            given = {key: found["config"][key] for key in ("model", "data", "seed", "steps")}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}): train again, or restore it") from error
        if config is None or all(getattr(config, key) == given[key] for key in given):
            return found
    return None


def _train_images(run_dir: Path) -> int:
    return json.loads((run_dir / FILE).read_text(encoding="utf-8"))["train_images"]
