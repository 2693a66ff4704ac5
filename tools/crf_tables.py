"""The dense CRF's tables, written from their records: `python -m tools.crf_tables`.

`results/crf/speed.json` and `results/crf/tried.json` go into benchmarks/README.md, between lines
that name them, and the first one's ratios into README.md. Prints which files changed, and which
aims of the speed the record misses.
"""

import re
import sys
from pathlib import Path

from segcourse import results

ROOT = Path(__file__).resolve().parent.parent
AIMS = {5: 2.0, 10: 2.5}  # times as fast as the package, after so many iterations
WAYS = ("peer", "ours")


def cases(speed: dict) -> dict[tuple, dict[int, dict]]:
    """By width, height and parameters: the times of each number of iterations."""
    found: dict[tuple, dict[int, dict]] = {}
    for row in speed["times"]:
        key = (row["width"], row["height"], row["parameters"])
        found.setdefault(key, {})[row["iterations"]] = row
    return found


def speed_text(speed: dict, repeats: int) -> str:
    """The table of `benchmarks/crf.py`, and what it says of labels and errors."""
    lines = [
        f"Peer / ours, medians of {repeats} turns in one run on two quiet cores; ours with two "
        "threads, the peer has one. The ratio is the median of the ratios of the turns. The record "
        "is `results/crf/speed.json`.",
        "",
        "| image, parameters | lattices alone | 5 iterations | 10 iterations | memory |",
        "|---|---|---|---|---|",
    ]
    memory = {(row["width"], row["height"], row["parameters"]): row for row in speed["memory_mib"]}
    for key, times in cases(speed).items():
        cells = ["{}x{}, {}".format(*key)]
        for n in (0, 5, 10):
            row = times[n]
            cells.append(f"{row['peer_ms']:.0f} / {row['ours_ms']:.0f} ms, {row['ratio']:.2f}x")
        cells.append(f"{memory[key]['peer']:.0f} / {memory[key]['ours']:.0f} MiB")
        lines.append(f"| {' | '.join(cells)} |")
    agree = min(row["labels_agree"] for row in speed["agreement"])
    apart = max(row["largest_difference"] for row in speed["agreement"])
    right = [row[f"{way}_labels_agree"] for row in speed["against_exact"] for way in WAYS]
    wrong = [row[f"{way}_mean_difference"] for row in speed["against_exact"] for way in WAYS]
    lines += [
        "",
        f"On ten pictures with both sets of parameters labels agree on {100 * agree:.2f} % of the "
        f"pixels, and probabilities differ by {apart:.1e} at most. Against mean field with the "
        f"exact filter (48x48, 8 labels, float64) both have {100 * min(right):.1f} to "
        f"{100 * max(right):.1f} % of the labels right, and a mean error of the probabilities of "
        f"{min(wrong):.4f} to {max(wrong):.4f}: it is the lattice's error, which both share.",
    ]
    return "\n".join(lines)


def tried_text(tried: dict) -> str:
    """The table of `benchmarks/crf_tried.py`."""
    lines = [
        "| technique | instead of | timed | parameters | without | with | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in tried["rows"]:
        cells = [row["technique"], row["alternative"], row["part"], row["parameters"]]
        cells += [f"{row['off_ms']:.1f}", f"{row['on_ms']:.1f}"]
        spread = f"{row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f}"
        cells.append(f"{row['ratio']:.2f} ({spread})")
        lines.append(f"| {' | '.join(cells)} |")
    busy = tried["others_busy_cores"]
    lines += ["", f"Other programs used {busy:.1f} cores when it began."]
    return "\n".join(lines)


def ratios_text(speed: dict) -> str:
    """The cell of README.md: ratios after 10 iterations, small and large image."""
    by: dict[str, list[str]] = {}
    for (_, _, name), times in sorted(cases(speed).items()):
        by.setdefault(name, []).append(f"{times[10]['ratio']:.2f}x")
    return f"{' and '.join(by['README'])}, {' and '.join(by['DeepLab'])}; equal labels"


def between(text: str, name: str, new: str) -> str:
    """`text` with what stands between the two comments of a name replaced."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    found, count = re.subn(pattern, lambda _: begin + new + end, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{begin.strip()} and its end stand in the text {count} times, not once")
    return found


def written(readme: str, front: str) -> tuple[str, str]:
    """Both files' texts as the records have them."""
    speed, tried = results.read("crf/speed"), results.read("crf/tried")
    table = speed_text(speed["metrics"], speed["config"]["repeats"])
    readme = between(readme, "results/crf/speed.json", table)
    readme = between(readme, "results/crf/tried.json", tried_text(tried["metrics"]))
    row = re.compile(r"(?m)^(\| dense CRF on a CPU against pydensecrf2[^|]*\| )[^|]*( \|)")
    return readme, row.sub(lambda m: m[1] + ratios_text(speed["metrics"]) + m[2], front)


def missed(speed: dict) -> list[str]:
    """What the record does not reach."""
    found = []
    for key, times in cases(speed).items():
        for n, aim in AIMS.items():
            if times[n]["ratio"] < aim:
                name = "{}x{}, {}".format(*key)
                found.append(f"{name}, {n} iterations: {times[n]['ratio']:.2f}x, aim {aim}x")
    return found


def main() -> int:
    """Write both files."""
    paths = ROOT / "benchmarks" / "README.md", ROOT / "README.md"
    old = [path.read_text("utf-8") for path in paths]
    for path, before, after in zip(paths, old, written(*old), strict=True):
        print(f"{path.relative_to(ROOT)}: {'as it was' if before == after else 'written'}")
        path.write_text(after, "utf-8")
    print(*missed(results.read("crf/speed")["metrics"]) or ["every aim is met"], sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
