"""Where the rendered book is, for the tests that read it or open it in a browser."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# SEGCOURSE_HTML: the folder of another build, to try a change of the theme.
HTML = Path(os.environ.get("SEGCOURSE_HTML", ROOT / "_build" / "html"))
# What a page may weigh with everything that it loads on the first view, in bytes.
BUDGET = 3_200_000


def skip_or_fail(reason: str) -> None:
    """Skip on a reader's machine; fail in CI, where nothing may be left out."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so this is no reason to skip)")
    pytest.skip(reason)


def pages() -> list[Path]:
    """Every rendered page; skips or fails when there is no book."""
    found = [
        path
        for path in sorted(HTML.rglob("*.html"))
        if not {"_static", "_sources", "vendor"} & set(path.relative_to(HTML).parts)
    ]
    if not found:
        skip_or_fail(f"no rendered book in {HTML}: run `make book` first")
    return found
