"""What all tests share: one thread, no window, no chance, and no GPU where there is none."""

import contextlib
import os
from pathlib import Path

# Before torch is imported: two test processes on two cores, and sums that do not depend on them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # A time limit fails on a busy machine, not on a wrong function.
    settings.register_profile(
        "segcourse", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    # The same examples each time: CI holds a change to what it changed.
    settings.register_profile(
        "ci", settings.get_profile("segcourse"), derandomize=True, print_blob=True
    )
    settings.load_profile("ci" if os.environ.get("CI") else "segcourse")

ROOT = Path(__file__).resolve().parent
# Sources of assignments are not modules: `segcourse grade build` fills them in.
collect_ignore_glob = ["exercises/*", "tests/grading_toy/*"]
LONGEST_MODULE = 250  # lines; an aim of the style, not a limit


def pytest_configure(config):
    """Draw without a window; give the kernels of a plain `pytest --nbval book` their settings."""
    # Programs that tests start find this checkout, installed or not.
    path = [str(ROOT), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    replayed = config.pluginmanager.has_plugin("tools.nbval_replay")
    if config.getoption("nbval", False) and not replayed:
        from tools import notebooks

        os.environ.update(notebooks.settings())
    else:
        os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_collection_modifyitems(items):
    """Skip the tests that need a GPU where torch sees none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="torch sees no GPU on this machine"))


def pytest_terminal_summary(terminalreporter):
    """Name the modules that have grown long, as a thing to look at."""
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / "segcourse").rglob("*.py")
    }
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE}
    if long:
        terminalreporter.section(f"modules over {LONGEST_MODULE} lines", sep="-")
        for name, lines in sorted(long.items(), key=lambda entry: -entry[1]):
            terminalreporter.line(f"{lines:5d} {name}")
