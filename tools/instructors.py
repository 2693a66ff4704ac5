"""What commands make in book/instructors.md: `python -m tools.instructors tables|walkthrough`.

`tables` writes the blocks between `<!-- made: ... -->` and `<!-- end -->`: chapters, exercises and
questions. `walkthrough` runs the page's `console` blocks in a new folder, one command after the
other, and writes what they printed below them.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from segcourse.grading.source import PAGES, Assignment, load

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "book" / "instructors.md"
CHAPTERS = ("sliding_window", "fcn", "upsampling", "unet", "deconvnet", "atrous", "aspp", "crf")
ORDER = ("metrics", *CHAPTERS)
PACE = 130
"""Words a minute: a technical text, in a language that may not be the reader's first."""
MADE = re.compile(r"(?ms)^(<!-- made: (\w+)(?: (\w+))? -->\n)(.*?)(^<!-- end -->$)")
CONSOLE = re.compile(r"(?ms)^(```console\n)(.*?)(^```$)")
MOST = 14
"""Lines of one command's output that are shown."""
NOT_PASSED = {"segcourse check": 3}
"""Exit codes that are right on the way, by the command's first words."""


def assignment(stem: str) -> Assignment:
    """An assignment as published."""
    folder = ROOT / "exercises"
    return load(folder / f"{stem}.py", folder / "private" / f"{stem}.py")


# ---- tables


def minutes(stem: str) -> int:
    """Minutes to read a page's text once, in fives; code, figures and exercises come on top."""
    cells = json.loads((ROOT / "book" / f"{stem}.ipynb").read_text("utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return 5 * math.ceil(len(re.findall(r"[A-Za-z][\w'-]*", text)) / PACE / 5)


def chapters() -> str:
    """One row a chapter: reading, and what is handed in."""
    rows = ["| chapter | reading | assignment | functions | points by tests | by a person |"]
    rows.append("|---|---|---|---|---|---|")
    total = [0, 0, 0, 0]
    for stem in ORDER:
        made = assignment(stem)
        page = PAGES.get(stem, f"book/{stem}").removeprefix("book/")
        counts = [minutes(page), len(made.of("answer"))]
        counts += [sum(cell.points for cell in made.of("test", "hidden"))]
        counts += [sum(cell.points for cell in made.of("question"))]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        first, *rest = counts
        cells = [f"{{doc}}`{page}`", f"{first} min", f"`{stem}`", *map(str, rest)]
        rows.append(f"| {' | '.join(cells)} |")
    hours = f"{total[0] / 60:.0f} h"
    cells = ["all", hours, f"{len(ORDER)} assignments", *map(str, total[1:])]
    rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def question(stem: str) -> str:
    """The written question of an assignment, quoted."""
    (cell,) = assignment(stem).of("question")
    lines = [line for line in cell.source.splitlines() if not line.startswith("#")]
    return "\n".join(f"> {line}".rstrip() for line in "\n".join(lines).strip().splitlines())


TABLES: dict[str, Callable[..., str]] = {"chapters": chapters, "question": question}


def with_tables(text: str) -> str:
    """The page with its blocks made anew."""

    def made(found: re.Match) -> str:
        words = [found[3]] if found[3] else []
        return f"{found[1]}\n{TABLES[found[2]](*words)}\n\n{found[5]}"

    return MADE.sub(made, text)


# ---- the walk-through


def commands(text: str) -> list[str]:
    """The commands of the page's console blocks, in order."""
    return [
        line[2:]
        for block in CONSOLE.finditer(text)
        for line in block[2].splitlines()
        if line.startswith("$ ")
    ]


def run_all(todo: list[str]) -> Iterator[tuple[str, int, str, float]]:
    """Run commands in one new folder that holds the exercises.

    Yields:
        Each command, its exit code, what it printed, and its seconds.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "course-room").mkdir()
        (folder / "course-room" / "exercises").symlink_to(ROOT / "exercises")
        (folder / "bin").mkdir()
        program = folder / "bin" / "segcourse"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m segcourse "$@"\n', "utf-8")
        program.chmod(0o755)
        paths = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        words = {"PATH": os.pathsep.join(paths), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
        for command in todo:
            start = time.perf_counter()
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=folder / "course-room",
                env={**os.environ, **words},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            yield command, done.returncode, done.stdout, time.perf_counter() - start


def is_right(command: str, code: int) -> bool:
    """Whether a command of the page ended as it should."""
    return code == next((c for words, c in NOT_PASSED.items() if command.startswith(words)), 0)


def shortened(output: str) -> list[str]:
    """Its lines, or the first ones and the last."""
    lines = [line.rstrip() for line in output.strip().splitlines()]
    return lines if len(lines) <= MOST else [*lines[: MOST - 2], "...", lines[-1]]


def with_outputs(text: str, outputs: dict[str, str]) -> str:
    """The page with the outputs of its commands."""

    def block(found: re.Match) -> str:
        lines = []
        for line in found[2].splitlines():
            if line.startswith("$ "):
                lines += [line, *shortened(outputs[line[2:]])]
        return f"{found[1]}{chr(10).join(lines)}\n{found[3]}"

    return CONSOLE.sub(block, text)


def main(words: list[str]) -> int:
    """Write the page anew; 1 when a command of the walk-through fails."""
    text, wrong = PAGE.read_text("utf-8"), 0
    if words == ["tables"]:
        PAGE.write_text(with_tables(text), "utf-8")
    elif words == ["walkthrough"]:
        outputs = {}
        for command, code, output, seconds in run_all(commands(text)):
            print(f"$ {command}    # {seconds:.0f} s\n{output}", end="", flush=True)
            outputs[command] = output
            if not is_right(command, code):
                print(f"exit code {code}")
                wrong += 1
        if not wrong:
            PAGE.write_text(with_outputs(text, outputs), "utf-8")
    else:
        sys.exit(__doc__)
    return min(1, wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
