"""The tables of the results page, in Markdown: records in, text out (book/results.ipynb).

A row that has no record says so, and no table mixes records of different data or sizes: the page
shows each list by itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from segcourse.claims.on_camvid import entry_of
from segcourse.published import Published
from segcourse.scoreboard import (
    ABSENT,
    average,
    cell,
    display_name,
    markdown_table,
    protocols,
    provenance,
    seconds_to,
    seeds,
    short_names,
    values,
)

Runs = Mapping[str, Sequence[dict]]

SECONDS = "-seconds"
"""The ending of an entry with a budget in seconds."""

MARK = "\u00a0†"
"""Behind a network that continues another: `under` says which."""


def equal_epochs(names: Sequence[str], runs: Runs) -> str:
    """Networks under one protocol and equal epochs, best test mIoU first; in percent."""
    columns = {
        "test mIoU": "metrics.test.miou",
        "with CRF": "metrics.crf.test.miou",
        "val mIoU": "metrics.val.miou",
        "test, near borders": "metrics.test.trimap.miou",
        "test, pixel accuracy": "metrics.test.pixel_accuracy",
    }
    shown = {
        head: path for head, path in columns.items() if any(values(runs[n], path) for n in names)
    }
    titles, seeded = short_names(names), _seeds_differ(names, runs)
    rows = [
        [
            titles[name] + (MARK if runs[name][0].get("start") else ""),
            *([seeds(runs[name])] if seeded else []),
            *(cell(runs[name], path) for path in shown.values()),
        ]
        for name in ranked(names, runs)
    ]
    return markdown_table(["network", *(["seeds"] if seeded else []), *shown], rows, 1 + seeded)


def ranked(names: Sequence[str], runs: Runs, ending: str = "") -> list[str]:
    """Names by the mean test mIoU of their runs, or of the runs NAME + ending; best first."""
    return sorted(names, key=lambda name: -average(runs[name + ending], "metrics.test.miou"))


def under(table: str, runs: Runs) -> str:
    """A table with what its marks mean, and with how, where and when its runs were made."""
    records = [record for found in runs.values() for record in found]
    notes = [*_continued(runs), *_views(runs), f"How: {protocols(records)}.", provenance(records)]
    return "\n\n".join([table, *notes])


def missing(names: Sequence[str], recorded: Collection[str]) -> str:
    """Which entries of a list have no record, by name."""
    told = [display_name(name) for name in names if name not in recorded]
    if not told:
        return "Every entry of the list has a record."
    return f"Not run yet, {len(told)} of {len(names)}: {'; '.join(told)}."


def equal_seconds(names: Sequence[str], runs: Runs) -> str:
    """Networks with as many steps as fit into so many seconds, best first, beside equal epochs."""
    titles = short_names(names)
    budgets = {run["budget"]["seconds"] for name in names for run in runs[name + SECONDS]}
    told = " or ".join(f"{seconds:g}" for seconds in sorted(budgets))
    rows = [
        [
            titles[name],
            cell(runs[name + SECONDS], "metrics.test.miou"),
            cell(runs.get(name, ()), "metrics.test.miou"),
            cell(runs[name + SECONDS], "budget.steps", 1, 0),
        ]
        for name in ranked(names, runs, SECONDS)
    ]
    columns = ["network", f"test mIoU, {told} s", "test mIoU, equal epochs", f"steps in {told} s"]
    return markdown_table(columns, rows)


def beside_published(published: Sequence[Published], full: Runs, small: Runs) -> str:
    """The published table with its protocol columns, and ours, each size in a column of its own.

    A size of ours that has no record has no column.
    """
    ours = {
        "ours, random start, 367, 360×480": ("vgg16", full),
        "another task: ours, 120×160, light": ("light", small),
    }
    ours = {head: of for head, of in ours.items() if of[1]}
    rows = []
    for row in published:
        found = []
        for family, runs in ours.values():
            name = entry_of(row.ours, family, runs) if row.ours else None
            found.append(
                cell(runs.get(name or "", ()), "metrics.test.miou") if row.ours else ABSENT
            )
        rows.append(
            [
                row.model,
                f"{row.miou:.1f}",
                f"{row.images:,}",
                "yes" if row.pretrained else "no",
                "×".join(map(str, row.size)),
                ABSENT if row.accuracy is None else f"{row.accuracy:.1f}",
                row.source,
                *found,
            ]
        )
    protocol_columns = ["trained on", "pretrained", "size", "pixel acc.", "source"]
    return markdown_table(["network", "mIoU", *protocol_columns, *ours], rows)


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
    rows, titles = [], short_names(names)
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
                titles[name] + (MARK if runs[name][0].get("start") else ""),
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
    rows, titles = [], short_names(names)
    for name in names:
        gaps = [
            {"gap": run["metrics"]["val"]["miou"] - run["metrics"]["test"]["miou"]}
            for run in runs[name]
        ]
        splits = (cell(runs[name], f"metrics.{split}.miou") for split in ("val", "test"))
        rows.append([titles[name], *splits, cell(gaps, "gap")])
    return markdown_table(["network", "val mIoU", "test mIoU", "val above test"], rows)


def _gpu_memory(runs: Sequence[dict]) -> str:
    on_gpu = [run for run in runs if "gpu" in run["hardware"]]
    return f"{average(on_gpu, 'peak_memory_mib'):,.0f}" if on_gpu else ABSENT


def _seeds_differ(names: Sequence[str], runs: Runs) -> bool:
    return len({seeds(runs[name]) for name in names}) > 1


def _continued(runs: Runs) -> list[str]:
    """Whose weights a marked network started from: such a run had the training of both."""
    starts = {
        run["start"]["run"].rpartition("-s")[0]
        for found in runs.values()
        for run in found
        if run.get("start")
    }
    titles = short_names([*runs, *sorted(starts)])
    return [
        f"{MARK.strip()} continues {titles[start]} with the same seed, so it had the training of "
        "both."
        for start in sorted(starts)
    ]


def _views(runs: Runs) -> list[str]:
    """What several views at test time give, where a run has them: another protocol."""
    told, titles = [], short_names(list(runs))
    for name, found in runs.items():
        if values(found, "metrics.test_views.miou"):
            views, one = (cell(found, f"metrics.{key}.miou") for key in ("test_views", "test"))
            told.append(
                f"With several views at test time, which is another protocol, {titles[name]} has "
                f"{views} on test in the place of {one}."
            )
    return told


WITHOUT = {"no-border": "without border weights", "no-elastic": "without bending"}
"""What an entry on ISBI-EM leaves out, by the end of its name."""


def cells_table(names: Sequence[str], runs: Runs) -> str:
    """Networks on ISBI-EM's val: membranes as pixels, and cells as objects."""
    val = "metrics.val"
    columns = {
        "IoU of membrane, %": (f"{val}.iou.membrane", 100, 1),
        "adapted Rand error, %": (f"{val}.objects.adapted_rand_error", 100, 1),
        "merged cells": (f"{val}.objects.merged", 1, 0),
        "split": (f"{val}.objects.split", 1, 0),
        "missed": (f"{val}.objects.missed", 1, 0),
    }
    rows = [
        [
            next((told for end, told in WITHOUT.items() if name.endswith(end)), "all of it"),
            *(cell(runs[name], *how) for how in columns.values()),
        ]
        for name in names
    ]
    return markdown_table(["U-Net", *columns], rows)
