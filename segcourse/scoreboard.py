"""From the records of a suite to the rows of a table (book/results.ipynb).

A cell is a number of a record with its spread over seeds, or it says that there is none. Numbers
meet in one table only where their protocol is one: data, size, budget and split.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean

NOT_RUN = "not run yet"
ABSENT = "–"

NAMES = {
    "patch": "Windows, 31 px",
    "full-resolution": "Full resolution",
    "unet": "U-Net",
    "deconvnet": "DeconvNet",
    "segnet": "SegNet",
    "dilated": "Dilated front end",
    "dilated-context": "Dilated + context",
    "largefov": "LargeFOV",
    "aspp-s": "ASPP-S",
    "aspp-l": "ASPP-L",
    "deeplab-v3": "DeepLab v3",
    "fcn-alexnet": "FCN-AlexNet",
    "fcn-googlenet": "FCN-GoogLeNet",
}
DATA = {"camvid": "CamVid", "isbi": "ISBI-EM"}
WORDS = {
    "vgg16": "VGG16",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "isbi": "ISBI-EM",
    "seconds": "equal seconds",
}


def display_name(entry: str) -> str:
    """What a table calls an entry of the list.

    >>> display_name("fcn16s-vgg16-staged"), display_name("unet-isbi-no-border")
    ('FCN-16s, VGG16, staged', 'U-Net, ISBI-EM without border')
    """
    stem, *rest = entry.split("-")
    while rest and f"{stem}-{rest[0]}" in NAMES:
        stem = f"{stem}-{rest.pop(0)}"
    size = stem.removeprefix("fcn")
    known = f"FCN-{size}" if size in ("32s", "16s", "8s") else NAMES.get(stem, stem)
    told = ", ".join([known, *(WORDS.get(word, word) for word in rest)])
    return told.replace(", no, ", " without ")


def short_names(names: Sequence[str]) -> dict[str, str]:
    """What a table calls its entries: without ", light" where no two of them would be one.

    >>> short_names(["unet-light", "patch"])
    {'unet-light': 'U-Net', 'patch': 'Windows, 31 px'}
    """
    whole = {name: display_name(name) for name in names}
    short = {name: told.removesuffix(", light") for name, told in whole.items()}
    return short if len(set(short.values())) == len(set(whole.values())) else whole


def by_entry(records: Iterable[dict]) -> dict[str, list[dict]]:
    """The records of every entry by seed; what is no record of a suite is left out."""
    found: dict[str, list[dict]] = {}
    for record in records:
        if "name" in record and "test" in record.get("metrics", {}):
            found.setdefault(record["name"], []).append(record)
    return {name: sorted(runs, key=lambda run: run["seed"]) for name, runs in found.items()}


def values(runs: Sequence[dict], path: str) -> list[float]:
    """One number of every record that has it.

    Args:
        runs: records of one entry.
        path: keys from the record's top, "metrics.test.trimap.miou".
    """
    found = []
    for run in runs:
        value: object = run
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            found.append(value)
    return found


def average(runs: Sequence[dict], path: str) -> float:
    """The mean over the seeds, nan where no record has the number."""
    found = values(runs, path)
    return mean(found) if found else float("nan")


def cell(runs: Sequence[dict], path: str, scale: float = 100.0, digits: int = 1) -> str:
    """A number with its spread: the mean, then the lowest and the highest seed.

    Args:
        runs: records of one entry; empty where it was not run.
        path: as for `values`.
        scale: 100 for shares that are shown in percent.
        digits: after the point.

    Returns:
        "61.2 (60.8 to 61.9)"; one seed has no bracket. NOT_RUN without a record, ABSENT where
        records are there and the number is not.
    """
    if not runs:
        return NOT_RUN
    found = [scale * value for value in values(runs, path)]
    if not found:
        return ABSENT
    said = f"{mean(found):,.{digits}f}"
    return (
        said
        if len(found) == 1
        # Spaces that do not break: a bracket stays on one line.
        else f"{said} ({min(found):,.{digits}f}\u00a0to\u00a0{max(found):,.{digits}f})"
    )


def seeds(runs: Sequence[dict]) -> str:
    """Which seeds stand behind a row.

    >>> seeds([{"seed": 0}])
    '0 only'
    """
    if not runs:
        return NOT_RUN
    told = ", ".join(str(run["seed"]) for run in runs)
    return f"{told} only" if len(runs) == 1 else told


def protocol(record: dict) -> str:
    """How a run was made, in one sentence: what has to be equal before two numbers compare."""
    return protocols([record])


def protocols(records: Sequence[dict]) -> str:
    """How some runs were made, in one sentence, with "or" where they differ."""
    data, images, start, length, precision, chosen = (
        " or ".join(dict.fromkeys(term)) for term in zip(*map(_terms, records), strict=True)
    )
    return f"{data}, {images}, {start} at the start, {length}, {precision}; {chosen}"


def _terms(record: dict) -> list[str]:
    data, config, test = record["data"], record["config"], record["data"].get("test")
    epochs, start = record.get("epochs"), record.get("start")
    batch = f"{config['batch']} {'images' if epochs else 'windows'}"
    length = f"{config['steps']:,} steps of {batch}" + (f" ({epochs:.0f} epochs)" if epochs else "")
    if budget := record.get("budget"):
        length = f"as many steps of {batch} as fit into {budget['seconds']:g} seconds"
    weights = f"those of {display_name(start['run'].rpartition('-s')[0])}" if start else ""
    return [
        f"{DATA.get(data['name'], data['name'])} at {'×'.join(map(str, data['size']))}",
        f"{data['train']['images']} training images",
        weights or "random weights",
        length,
        config["precision"],
        f"chosen on {data['val']['images']} val images"
        + (f", {test['images']} test images measured once" if test else ", no test images"),
    ]


def provenance(records: Sequence[dict]) -> str:
    """How many records, and their seeds, hardware, versions and dates."""
    if not records:
        return f"No record is there: {NOT_RUN}."
    told = sorted({record["seed"] for record in records})
    count = "One record" if len(records) == 1 else f"{len(records)} records"
    by_seed = f"seed{'s' * (len(told) > 1)} {', '.join(map(str, told))}"
    return f"{count}, {by_seed}. {made_on(records)}"


def made_on(records: Sequence[dict]) -> str:
    """Hardware, versions and dates of some records, in one sentence each."""
    hardware = sorted({_machine(record["hardware"]) for record in records})
    versions = sorted({_versions(record["versions"]) for record in records})
    days = sorted(record["date"][:10] for record in records)
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return f"{' and '.join(hardware)}. {' and '.join(versions)}. {when}."


def points_of(record: dict) -> list[tuple[float, float, float]]:
    """The curve of a run: epochs, seconds of training and mIoU on val at every evaluation.

    Seconds are images shown over the run's mean images a second: evaluations and checkpoints are
    left out.
    """
    batch, rate = record["config"]["batch"], record["images_per_second"]
    steps, epochs = record["config"]["steps"], record.get("epochs") or float("nan")
    return [
        (line["step"] / steps * epochs, line["step"] * batch / rate, line["miou"])
        for line in record["curve"]
        if "miou" in line
    ]


def seconds_to(record: dict, miou: float) -> float | None:
    """Seconds of training until val first had this mIoU; None where it never did."""
    return next((s for _, s, reached in points_of(record) if reached >= miou), None)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown, the first columns to the left and the numbers to the right.

    >>> print(markdown_table(["model", "mIoU"], [["U-Net", "55.2"]]))
    | model | mIoU |
    | :--- | ---: |
    | U-Net | 55.2 |
    """
    marks = [":---"] * left + ["---:"] * (len(columns) - left)
    lines = [columns, marks, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _machine(hardware: dict) -> str:
    cores = f"{hardware['cpu']}, {hardware['threads']} of {hardware['cores']} cores"
    return f"{hardware['gpu']}, {cores}" if "gpu" in hardware else f"CPU: {cores}"


def _versions(versions: dict) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in ("segcourse", "python", "torch"))
