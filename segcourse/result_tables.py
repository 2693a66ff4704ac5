"""The tables of the results page, in Markdown: records in, text out (book/results.ipynb).

A row that has no record says so, and no table mixes records of different data or sizes: the page
shows each list by itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from segcourse.claims.judging import NOT_RUN, Finding, Judged
from segcourse.claims.on_camvid import PAIRS, entry_of, judge_pair
from segcourse.published import Published
from segcourse.scoreboard import (
    ABSENT,
    average,
    cell,
    display_name,
    markdown_table,
    protocol,
    provenance,
    seconds_to,
    seeds,
    values,
)

Runs = Mapping[str, Sequence[dict]]

CHAPTERS = {
    "index": "the task",
    "sliding_window": "sliding window",
    "fcn": "FCN",
    "upsampling": "upsampling",
    "unet": "U-Net",
    "deconvnet": "DeconvNet",
    "atrous": "atrous",
    "aspp": "ASPP",
    "crf": "CRF",
}
SECONDS = "-seconds"
"""The ending of an entry with a budget in seconds."""


def link(chapter: str) -> str:
    """A chapter as a link from another page of the book."""
    return f"[{CHAPTERS[chapter]}]({chapter}.ipynb)"


def claims_table(judged: Sequence[Judged]) -> str:
    """Every claim, what was asked of the record, what was measured, and the verdict."""
    rows = [
        [
            f"**{one.claim.text}** {one.claim.asked} ({link(one.claim.chapter)})",
            _verdict(one.finding),
            one.finding.measured if one.finding else "no record",
        ]
        for one in judged
    ]
    return markdown_table(
        ["claim, what was asked, and the chapter", "verdict", "measured"], rows, 3
    )


def pairs_table(lists: Mapping[str, tuple[str, Runs]]) -> str:
    """The pairs of the claims on CamVid, a column for each list of networks.

    Args:
        lists: from the column's head to the family of networks and the runs.
    """
    rows = []
    for pair in PAIRS:
        row = [pair.text, link(pair.chapter)]
        for family, runs in lists.values():
            finding = judge_pair(pair, family, runs)
            row.append(f"{finding.measured}: {_verdict(finding)}" if finding else NOT_RUN)
        rows.append(row)
    return markdown_table(["claim", "chapter", *lists], rows, 2 + len(lists))


def equal_epochs(names: Sequence[str], runs: Runs) -> str:
    """Networks under one protocol and equal epochs, best test mIoU first; in percent."""
    test = "metrics.test"
    columns = {
        "val mIoU": "metrics.val.miou",
        "test mIoU": f"{test}.miou",
        "pixel accuracy": f"{test}.pixel_accuracy",
        "near borders": f"{test}.trimap.miou",
        "test mIoU with CRF": "metrics.crf.test.miou",
        "with several views": "metrics.test_views.miou",
    }
    shown = {
        head: path for head, path in columns.items() if any(values(runs[n], path) for n in names)
    }
    rows = [
        [
            _continued(name, runs[name]),
            seeds(runs[name]),
            *(cell(runs[name], path) for path in shown.values()),
        ]
        for name in sorted(names, key=lambda name: -average(runs[name], f"{test}.miou"))
    ]
    return markdown_table(["network", "seeds", *shown], rows, 2)


def under(table: str, runs: Runs) -> str:
    """A table with the hardware, versions, dates and seeds of its runs, and how they were made."""
    records = [record for found in runs.values() for record in found]
    how = "\n".join(f"- {one}" for one in sorted({protocol(record) for record in records}))
    return f"{table}\n\n{provenance(records)}\n\nProtocol:\n\n{how}"


def missing(names: Sequence[str], recorded: Collection[str]) -> str:
    """Which entries of a list have no record, by name."""
    told = [display_name(name) for name in names if name not in recorded]
    if not told:
        return "Every entry of the list has a record."
    return f"Not run yet, {len(told)} of {len(names)}: {'; '.join(told)}."


def equal_seconds(names: Sequence[str], runs: Runs) -> str:
    """Networks with as many steps as fit into so many seconds, best first, beside equal epochs."""
    rows = [
        [
            display_name(name),
            seeds(runs[name + SECONDS]),
            cell(runs[name + SECONDS], "budget.seconds", 1, 0),
            cell(runs[name + SECONDS], "budget.steps", 1, 0),
            cell(runs[name + SECONDS], "metrics.test.miou"),
            cell(runs.get(name, ()), "metrics.test.miou"),
        ]
        for name in sorted(names, key=lambda n: -average(runs[n + SECONDS], "metrics.test.miou"))
    ]
    columns = ["network", "seeds", "seconds", "steps", "test mIoU", "test mIoU, equal epochs"]
    return markdown_table(columns, rows, 2)


def beside_published(published: Sequence[Published], full: Runs, small: Runs) -> str:
    """The published table with its protocol columns, and ours, each size in a column of its own."""
    rows = []
    for row in published:
        ours = [ABSENT, ABSENT]
        if row.ours:
            found = (entry_of(row.ours, "vgg16", full), entry_of(row.ours, "light", small))
            ours = [
                cell(runs.get(name or "", ()), "metrics.test.miou")
                for name, runs in zip(found, (full, small), strict=True)
            ]
        rows.append(
            [
                row.model,
                f"{row.miou:.1f}",
                ours[0],
                f"{row.images:,}",
                "yes" if row.pretrained else "no",
                "×".join(map(str, row.size)),
                ABSENT if row.accuracy is None else f"{row.accuracy:.1f}",
                row.source,
                ours[1],
            ]
        )
    ours = "ours, random start, 367, 360×480"
    protocol_columns = ["trained on", "pretrained", "size", "pixel acc.", "source"]
    columns = ["network", "mIoU", ours, *protocol_columns, "another task: ours, 120×160, light"]
    return markdown_table(columns, rows)


def by_class(names: Sequence[str], runs: Runs) -> tuple[list[str], list[list[float]]]:
    """IoU on test of every network and class, means over the seeds.

    Returns:
        The classes in their order, and a row of shares for each name, nan where a class does not
        occur.
    """
    first = runs[names[0]][0]
    # Keys of a record are sorted; the order of the classes stands with the label maps.
    classes = first.get("maps", {}).get("classes") or list(first["metrics"]["test"]["iou"])
    path = "metrics.test.iou."
    return classes, [[average(runs[name], path + one) for one in classes] for name in names]


def costs(
    names: Sequence[str], runs: Runs, multiply_adds: Callable[[str], float], aim: float
) -> str:
    """What a network costs: weights, multiply-adds, speed, and seconds until val had a mIoU.

    Args:
        names: of entries with records.
        runs: their records.
        multiply_adds: of one image through a network, from the entry's name.
        aim: mIoU on val, 0..1.
    """
    rows = []
    # On a CPU the record has the peak of the process, earlier runs included: no number of a run.
    on_gpu = any("gpu" in run["hardware"] for name in names for run in runs[name])
    for name in names:
        times = [seconds_to(run, aim) for run in runs[name]]
        reached = [{"seconds": time} for time in times if time is not None]
        said = cell(reached, "seconds", 1, 0) if reached else "never"
        if 0 < len(reached) < len(times):
            said += f", in {len(reached)} of {len(times)}"
        rows.append(
            [
                _continued(name, runs[name]),
                f"{average(runs[name], 'parameters') / 1e6:.2f}",
                f"{multiply_adds(name) / 1e9:,.2f}",
                cell(runs[name], "images_per_second", 1),
                *([_gpu_memory(runs[name])] if on_gpu else []),
                said,
            ]
        )
    units = ["parameters (M)", "multiply-adds (G)", "training, images/s"]
    units += ["GPU memory (MiB)"] if on_gpu else []
    return markdown_table(["network", *units, f"seconds to {100 * aim:.0f} on val"], rows)


def ladder(steps: Sequence[tuple[str, str, bool]], runs: Runs) -> str:
    """The recipe, one change at a time: what each step gives on val, against the last kept one.

    Args:
        steps: entries in order, each with what it changes and whether later steps build on it.
        runs: records of those that were run.
    """
    rows, before = [], float("nan")
    for name, change, kept in steps:
        found = runs.get(name, ())
        now = average(found, "metrics.val.miou")
        gain = 100 * (now - before)
        rows.append(
            [
                change,
                seeds(found),
                cell(found, "metrics.val.miou") if found else "",
                ABSENT if gain != gain else f"{gain:+.1f}",
                ABSENT if not found else "yes" if kept else "no",
                cell(found, "metrics.test.miou") if found else "",
            ]
        )
        before = now if kept else before
    columns = ["what changed", "seeds", "val mIoU", "gain", "kept", "test mIoU"]
    return markdown_table(columns, rows, 2)


def weights(records: Sequence[dict]) -> str:
    """The committed weights: what they are, what was measured, and what measures it again."""
    cards = "https://github.com/segcourse/segcourse/blob/main/weights"
    rows = [
        [
            f"[{record['name']}]({cards}/{record['name']}/card.md)",
            f"`{record['command']}`",
            f"{record['parameters'] / 1e6:.2f}",
            *(cell([record], f"metrics.{split}.miou") for split in ("val", "test")),
            record["date"][:10],
        ]
        for record in records
    ]
    columns = ["weights and card", "made again by", "parameters (M)", "val mIoU", "test mIoU"]
    return markdown_table([*columns, "date"], rows, 2)


def val_against_test(names: Sequence[str], runs: Runs) -> str:
    """How much higher val is than test, for every network."""
    rows = []
    for name in names:
        gaps = [
            {"gap": run["metrics"]["val"]["miou"] - run["metrics"]["test"]["miou"]}
            for run in runs[name]
        ]
        splits = (cell(runs[name], f"metrics.{split}.miou") for split in ("val", "test"))
        rows.append([display_name(name), *splits, cell(gaps, "gap")])
    return markdown_table(["network", "val mIoU", "test mIoU", "val above test"], rows)


def _gpu_memory(runs: Sequence[dict]) -> str:
    on_gpu = [run for run in runs if "gpu" in run["hardware"]]
    return f"{average(on_gpu, 'peak_memory_mib'):,.0f}" if on_gpu else ABSENT


def _continued(name: str, runs: Sequence[dict]) -> str:
    """A name, and whose weights it started from: such a run had the training of both."""
    start = runs[0].get("start")
    if not start:
        return display_name(name)
    return f"{display_name(name)} (continues {display_name(start['run'].rpartition('-s')[0])})"


def _verdict(finding: Finding | None) -> str:
    if finding is None:
        return NOT_RUN
    # Spaces that do not break: "5 of 6" stays on one line.
    return f"{finding.verdict} ({sum(finding.checks)}\u00a0of\u00a0{len(finding.checks)})"
