"""A pytest plugin: nbval compares committed outputs with the executed copies, and runs nothing.

`pytest -p tools.nbval_replay --nbval book/*.ipynb`. nbval asks a kernel to run each cell and
compares what comes back with what is committed. Here the kernel plays back the copy that
tools/notebooks.py has executed from the same cells and the same `segcourse/`, so the book and the
tests run each notebook once. Two gaps of nbval are closed on the way: it lets a cell pass that was
never run, and one tagged nbval-ignore-output that has lost its outputs.
"""

import subprocess
import sys
from collections import deque
from pathlib import Path

from nbval.plugin import IPyNbCell, IPyNbFile, coalesce_streams

from tools import notebooks


class PlayedKernel:
    """What nbval needs of a kernel, answered from an executed notebook."""

    def __init__(self, executed: Path):
        self.cells = deque(notebooks.code_cells(notebooks.read(executed)))
        self.messages: deque[dict] = deque()
        self.asked = 0

    def execute_cell_input(self, source: str, allow_stdin: bool | None = None) -> str:
        """Queue the messages that this cell's run gave; cells that nbval skips are passed over."""
        while self.cells:
            cell = self.cells.popleft()
            if cell.source == source:
                break
        else:
            raise RuntimeError("The executed copy lacks this cell. Run: make clean test")
        self.asked += 1
        message = str(self.asked)
        for output in cell.outputs:
            self._queue(message, output["output_type"], output)
        self._queue(message, "status", {"execution_state": "idle"})
        return message

    def _queue(self, message: str, kind: str, content: dict) -> None:
        self.messages.append(
            {"msg_type": kind, "content": content, "parent_header": {"msg_id": message}}
        )

    def get_message(self, stream: str, timeout: float | None = None) -> dict:
        """Return the next message of the cell."""
        return self.messages.popleft()

    def await_reply(self, message: str, timeout: float | None = None) -> None:
        """Return at once: the cell has run."""

    def await_idle(self, message: str, timeout: float | None = None) -> None:
        """Pass over the rest of the cell's messages."""
        self.messages.clear()

    def is_alive(self) -> bool:
        """Return that cells can be asked for."""
        return True

    def stop(self) -> None:
        """End: nothing runs, so nothing is to be stopped."""


def executed_copy(path: Path) -> Path:
    """Return the notebook's executed copy; have it executed first if there is none."""
    copy = notebooks.executed_path(path)
    if not copy.exists():
        command = [sys.executable, "-m", "tools.notebooks", "refresh", str(path)]
        run = subprocess.run(
            command, cwd=notebooks.ROOT, capture_output=True, text=True, check=False
        )
        if run.returncode != 0:
            raise RuntimeError(run.stderr)
    return copy


def start(self: IPyNbFile) -> None:
    """Take the place of IPyNbFile.setup, which would start a kernel."""
    self.kernel = PlayedKernel(executed_copy(self.path))
    self.setup_sanitize_files()


compare = IPyNbCell.runtest


def compare_and_require(self: IPyNbCell) -> None:
    """Compare as nbval does, then hold that what the run puts out is committed."""
    if self.cell.source.strip() and self.cell.execution_count is None:
        self.raise_cell_error("This cell is committed without having been run: make notebooks")
    compare(self)
    ran, kept = (
        notebooks.kinds(coalesce_streams(outputs))
        for outputs in (self.test_outputs or [], self.cell.outputs)
    )
    if ran - kept:
        lost = ", ".join(sorted(ran - kept))
        self.raise_cell_error(f"The run puts out what is not committed ({lost}): make notebooks")


IPyNbFile.setup = start
IPyNbCell.runtest = compare_and_require
