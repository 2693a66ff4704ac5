"""Submissions that are not as they should be, for a generated class: damaged, edited, hostile.

Each is right in all exercises, but for what is said of it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segcourse.grading.notebook import grade_id, text_of


@dataclass(frozen=True)
class Special:
    """A kind of submission: what happens to it, and how much of it counts."""

    told: str
    counts: str = "all"  # or "others": all exercises but the last; or "none"
    code: str = ""  # in place of the last exercise, {name} is its function
    spoil: Callable[[Path, Path], None] | None = None


def _cut(place: Path, file: Path) -> None:
    text = file.read_text("utf-8")
    file.write_text(text[: len(text) // 2], "utf-8")


def _other_document(place: Path, file: Path) -> None:
    file.unlink()
    (place / "homework.pdf").write_bytes(b"%PDF-1.4\n")


def _script(place: Path, file: Path) -> None:
    cells = json.loads(file.read_text("utf-8"))["cells"]
    sources = [text_of(cell) for cell in cells if cell["cell_type"] == "code"]
    file.with_suffix(".py").write_text("# In[1]:\n" + "\n# In[ ]:\n".join(sources), "utf-8")
    file.unlink()


def _without_metadata(place: Path, file: Path) -> None:
    made = json.loads(file.read_text("utf-8"))
    made["metadata"] = {}
    for cell in made["cells"]:
        cell["metadata"] = {}
    file.write_text(json.dumps(made), "utf-8")


def _easy_tests(place: Path, file: Path) -> None:
    made = json.loads(file.read_text("utf-8"))
    answers = made["metadata"]["segcourse"]["answers"]
    for cell in made["cells"]:
        marks = cell["metadata"].get("nbgrader") or {}
        if grade_id(cell) in answers:
            cell["source"] = "pass"
        if marks.get("grade") and cell["cell_type"] == "code":
            cell["source"], marks["points"] = "pass", 100
    file.write_text(json.dumps(made), "utf-8")


def _renamed(place: Path, file: Path) -> None:
    file.rename(place / "final version (2).ipynb")


def _two_files(place: Path, file: Path) -> None:
    (place / "first").mkdir()
    (place / "first" / file.name).write_bytes(file.read_bytes())


SPECIALS = (
    Special("half of the file is missing", "none", spoil=_cut),
    Special(
        "the last exercise never ends",
        "others",
        "def {name}(*args, **kwargs):\n    while True:\n        pass",
    ),
    Special("a script instead of a notebook", spoil=_script),
    Special("tests made easy, points raised, nothing answered", "none", spoil=_easy_tests),
    Special("another document", "none", spoil=_other_document),
    Special(
        "the last exercise takes all memory",
        "others",
        "def {name}(*args, **kwargs):\n    return [bytes([1]) * 10**7 for _ in range(10**6)]",
    ),
    Special("a notebook that has lost its metadata", spoil=_without_metadata),
    Special(
        "the last exercise looks for the work of others",
        "others",
        "import os\n\n\ndef {name}(*args, **kwargs):\n    return os.listdir('../../submitted')[0]",
    ),
    Special("two notebooks of one name", spoil=_two_files),
    Special(
        "the last exercise makes every comparison true",
        "others",
        "import builtins\nimport torch\n\nbuiltins.AssertionError = type('E', (Exception,), {})\n"
        "torch.isclose = torch.equal = lambda *a, **k: torch.tensor(True)\n\n\n"
        "def {name}(*args, **kwargs):\n    return -1",
    ),
    Special("a file of another name", spoil=_renamed),
    Special(
        "the last exercise ends the process",
        "others",
        "import os\n\n\ndef {name}(*args, **kwargs):\n    os._exit(0)",
    ),
    Special(
        "the last exercise prints without end",
        "others",
        "def {name}(*args, **kwargs):\n    while True:\n        print('x' * 10_000)",
    ),
)
