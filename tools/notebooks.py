"""The one executor of the book's notebooks, and what `make book`, `make test` and CI share.

A notebook is run when nothing in `_build/executed/` carries its hash: the hash of its code cells,
of `segcourse/`, of `results/` and of the pins. So a page never shows what older code printed, and
the book and the tests together run each notebook once. A rerun gives the same bytes.
"""

import argparse
import asyncio
import hashlib
import json
import os
import platform
import re
import sys
import time
from collections import Counter
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from segcourse.records import record, write_record

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
EXECUTED = ROOT / "_build" / "executed"
SECONDS = ROOT / "results" / "book" / "seconds.json"
CELL_TIMEOUT = 600  # seconds
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}


class NotebookError(Exception):
    """A cell of a notebook failed."""


def sources() -> list[Path]:
    """Return the book's notebooks, sorted by name."""
    return sorted(BOOK.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """Read a notebook, with cell ids where an older format had none."""
    notebook = nbformat.read(path, as_version=4)
    notebook.nbformat_minor = max(5, notebook.nbformat_minor)
    seen: set[str] = set()
    for index, cell in enumerate(notebook.cells):
        if cell.get("id", "") in seen or "id" not in cell:
            cell.id = hashlib.sha256(f"{index} {cell.source}".encode()).hexdigest()[:8]
        seen.add(cell.id)
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step, so that a kill leaves the old file or the new one."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook, indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process number keeps two test workers off each other's half-written file.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text.rstrip("\n") + "\n", encoding="utf-8", newline="\n")
    part.replace(path)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the notebook's code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def surroundings() -> str:
    """Return the digest of everything besides a notebook's own cells that its outputs rest on."""
    digest = hashlib.sha256(platform.python_version().encode())
    paths = [ROOT / "requirements.txt", Path(__file__)]
    for folder in (ROOT / "segcourse", ROOT / "results"):
        paths += (
            p
            for p in sorted(folder.rglob("*"))
            if p.is_file() and p.suffix not in (".pyc", ".md") and p != SECONDS
        )
    for path in paths:
        digest.update(f"\0{path.relative_to(ROOT).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def executed_path(path: Path, around: str | None = None) -> Path:
    """Return where the executed copy of a notebook lies, or will lie once it has run."""
    cells = [(cell.source, cell.metadata.get("tags", [])) for cell in code_cells(read(path))]
    key = json.dumps([around or surroundings(), cells])
    return EXECUTED / f"{path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.ipynb"


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Strip what differs from run to run or from machine to machine; changes the notebook."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = NotebookNode(KERNELSPEC)
    notebook.metadata["language_info"] = NotebookNode(LANGUAGE)
    for count, cell in enumerate(code_cells(notebook), start=1):
        for key in ("execution", "ExecuteTime", "collapsed", "scrolled"):
            cell.metadata.pop(key, None)
        cell.execution_count = count
        for output in cell.outputs:
            output.pop("transient", None)
            if output.output_type == "execute_result":
                output.execution_count = count
            # A view without its kernel shows nothing; its other faces do.
            if len(output.get("data", {})) > 1:
                output["data"].pop(WIDGET_VIEW, None)
    return notebook


def graft(source: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """Give the source's code cells the outputs of its executed copy; changes the source.

    The hash leaves prose and captions out, so the executed copy may be older than these.
    """
    for cell, run in zip(code_cells(source), code_cells(executed), strict=True):
        cell.outputs, cell.execution_count = run.outputs, run.execution_count
    return normalise(source)


def kinds(outputs: list[NotebookNode]) -> Counter:
    """Count a cell's outputs by what they are: streams by name, data by its formats."""
    return Counter(
        output.name
        if output.output_type == "stream"
        else " ".join(sorted(set(output.get("data", {"error": ""})) - {WIDGET_VIEW}))
        for output in outputs
    )


def settings() -> dict[str, str]:
    """Return a kernel's settings: no window, no progress bar, the same sums on every machine."""
    same_sums = {
        # How a sum is split depends on the number of threads: one, whatever the machine has.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
    if platform.machine() in ("x86_64", "AMD64"):
        # The libraries pick kernels by the processor, and these differ in the last digit, which a
        # training run grows into a visible one. All processors of ten years have AVX2.
        same_sums |= {
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_CBWR": "COMPATIBLE",
        }
    return {
        **same_sums,
        "SEGCOURSE_STATIC": "1",
        "TQDM_DISABLE": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def environment() -> dict[str, str]:
    """Return a kernel's environment: this checkout's code, and nobody's personal start-up files."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {
        "PYTHONPATH": path,
        "IPYTHONDIR": str(EXECUTED / "ipython"),
        "MPLCONFIGDIR": str(EXECUTED / "matplotlib"),
    }
    return {**os.environ, **settings(), **own}


def explain(error: Exception) -> str:
    """Return the error as a person reads it, without colour codes."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()


async def execute(path: Path, target: Path) -> float:
    """Run one notebook and store it normalised at `target`; return the seconds that it took.

    Raises:
        NotebookError: a cell failed. The message names notebook and cell and holds the traceback.
    """
    notebook = read(path)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        allow_errors=False,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    cell_at = [0]
    client.on_cell_start = lambda cell, cell_index: cell_at.__setitem__(0, cell_index)
    start = time.perf_counter()
    try:
        await client.async_execute(env=environment())
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        number = 1 + sum(cell.cell_type == "code" for cell in notebook.cells[: cell_at[0]])
        raise NotebookError(
            f"{path.name}, code cell {number}, failed:\n{explain(error)}"
        ) from error
    seconds = time.perf_counter() - start
    write(normalise(notebook), target)
    for old in target.parent.glob(f"{path.stem}-{'[0-9a-f]' * 16}.ipynb"):
        if old != target:
            old.unlink()
    print(f"  {path.name}: {seconds:.1f} s", flush=True)
    return seconds


async def execute_all(jobs: list[tuple[Path, Path]], parallel: int) -> dict[str, float]:
    """Run notebooks a few at a time; return each one's seconds by its stem.

    Raises:
        SystemExit: notebooks failed; the message has one part for each.
    """
    gate = asyncio.Semaphore(parallel)

    async def one(path: Path, target: Path) -> float:
        async with gate:
            return await execute(path, target)

    # The largest first: the last to finish should be a short one.
    jobs = sorted(jobs, key=lambda job: -job[0].stat().st_size)
    took = await asyncio.gather(*(one(*job) for job in jobs), return_exceptions=True)
    for result in took:
        if isinstance(result, BaseException) and not isinstance(result, NotebookError):
            raise result
    faults = [str(result) for result in took if isinstance(result, NotebookError)]
    if faults:
        sys.exit("\n\n".join(faults))
    return {path.stem: seconds for (path, _), seconds in zip(jobs, took, strict=True)}


def refresh(paths: list[Path], force: bool = False, parallel: int = 2) -> dict[Path, Path]:
    """Run the notebooks whose executed copy is missing; return each one's executed copy.

    Raises:
        SystemExit: a cell failed. The message names notebook and cell and holds the traceback.
    """
    around = surroundings()
    targets = {path: executed_path(path, around) for path in paths}
    stale = [(path, to) for path, to in targets.items() if force or not to.exists()]
    if stale:
        for folder in ("ipython", "matplotlib"):
            (EXECUTED / folder).mkdir(parents=True, exist_ok=True)
        print(f"Executing {len(stale)} of {len(paths)} notebooks.", flush=True)
        start = time.perf_counter()
        seconds = asyncio.run(execute_all(stale, parallel))
        if force:
            save_seconds(seconds)
        print(f"Executed in {time.perf_counter() - start:.1f} s.", flush=True)
    return targets


def save_seconds(seconds: dict[str, float]) -> None:
    """Record how long the pages take, where one's time has left the ten seconds it was in.

    A page states its time to ten seconds, so a rerun that takes as long changes no file.
    """
    try:
        known = json.loads(SECONDS.read_text(encoding="utf-8"))["seconds"]
    except (OSError, ValueError, KeyError):
        known = {}
    if {k: v // 10 for k, v in known.items()} == {k: v // 10 for k, v in seconds.items()}:
        return
    write_record(
        SECONDS,
        record("make notebooks", {}, 0, {}, [], sum(seconds.values())) | {"seconds": seconds},
    )


def save() -> None:
    """Run every notebook again and write its outputs into `book/`, where that changes a byte."""
    for path, target in refresh(sources(), force=True).items():
        before = path.read_bytes()
        write(graft(read(path), read(target)), path)
        print(f"  {path.name}: {'unchanged' if path.read_bytes() == before else 'saved'}")


def main(argv: list[str] | None = None) -> None:
    """Run the notebooks that need it (`refresh`), or all and save them (`save`)."""
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=__doc__)
    parser.add_argument("task", choices=["refresh", "save"])
    parser.add_argument("notebooks", nargs="*", type=Path, help="refresh these only")
    arguments = parser.parse_args(argv)
    if arguments.task == "save":
        save()
    else:
        refresh([path.resolve() for path in arguments.notebooks] or sources())


if __name__ == "__main__":
    main()
