"""Render the book: stage the pages with their outputs, then Jupyter Book with warnings as errors.

Nothing executes here. `book` takes outputs from the executor, which runs what is stale; `html`
takes the committed ones. What was already rendered from the same bytes is not rendered again.
"""

import argparse
import functools
import hashlib
import http.server
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tools import notebooks

ROOT = notebooks.ROOT
STAGE = ROOT / "_build" / "source"
HTML = ROOT / "_build" / "html"
RENDERED = ROOT / "_build" / "html.sha256"
# What a build or an editor leaves behind, and what the executor stages itself.
LEFT_OUT = shutil.ignore_patterns("*.ipynb", "_build", "__pycache__", ".*", "*.pyc")


def stage(executed: dict[Path, Path]) -> None:
    """Copy what the pages are made of to `_build/source`, notebooks with their outputs in place.

    Args:
        executed: for a notebook in `book/`, the executed copy that gives its outputs; a notebook
            that is not in it keeps its committed ones.
    """
    if STAGE.exists():
        shutil.rmtree(STAGE)
    shutil.copytree(ROOT / "book", STAGE / "book", ignore=LEFT_OUT)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(ROOT / name, STAGE / name)
    for path in notebooks.sources():
        page = notebooks.read(path)
        if path in executed:
            notebooks.graft(page, notebooks.read(executed[path]))
        notebooks.write(page, STAGE / "book" / path.name)


def fingerprint() -> str:
    """Return the digest of all that the rendered pages depend on."""
    digest = hashlib.sha256(platform.python_version().encode())
    digest.update(os.environ.get("SEGCOURSE_HUB", "").encode())  # stands in every page's menu
    paths = [ROOT / "requirements.txt", Path(__file__)]
    paths += (path for path in sorted(STAGE.rglob("*")) if path.is_file())
    for path in paths:
        digest.update(f"\0{path.relative_to(ROOT).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def render() -> None:
    """Render `_build/source` to `_build/html`, unless these very bytes were rendered last time.

    Raises:
        SystemExit: a page has a warning or an error; Sphinx has printed it.
    """
    execute = (yaml.safe_load((ROOT / "_config.yml").read_text()) or {}).get("execute", {})
    if execute.get("execute_notebooks") not in ("off", False):
        sys.exit('_config.yml must say execute_notebooks: "off": tools/notebooks.py runs them.')
    wanted = fingerprint()
    if RENDERED.exists() and RENDERED.read_text() == wanted and (HTML / "index.html").exists():
        print("The pages are up to date.")
        return
    print("Rendering the pages.", flush=True)
    start = time.perf_counter()
    RENDERED.unlink(missing_ok=True)
    for folder in (HTML, HTML.with_name(".doctrees")):
        shutil.rmtree(folder, ignore_errors=True)
    run = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", run, "build", str(STAGE)]
    command += ["--path-output", str(ROOT), "--all", "-W", "--keep-going", "-n", "-q"]
    status = subprocess.run(command, cwd=STAGE, check=False, stdout=subprocess.DEVNULL).returncode
    if status != 0 or not (HTML / "index.html").exists():
        sys.exit("The book did not build: the warnings above are errors here.")
    RENDERED.write_text(wanted)
    print(f"Rendered in {time.perf_counter() - start:.1f} s.")


def build(execute: bool) -> None:
    """Bring `_build/html` up to date and say where to open it."""
    for name in ("_config.yml", "_toc.yml", "book"):
        if not (ROOT / name).exists():
            sys.exit(f"{name} is missing beside the Makefile: is this a full checkout?")
    stage(notebooks.refresh(notebooks.sources()) if execute else {})
    render()
    print(f"\nThe book: {(HTML / 'index.html').as_uri()}\nOr serve it: make serve")


def serve(port: int) -> None:
    """Serve the rendered book to this machine until Ctrl-C."""
    if not (HTML / "index.html").exists():
        sys.exit("There is no rendered book yet. Run: make book")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(HTML))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        sys.exit(f"Port {port} cannot be used ({error.strerror}). Try: make serve PORT={port + 1}")
    print(f"The book: http://127.0.0.1:{port}/index.html (Ctrl-C stops)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()


def main(argv: list[str] | None = None) -> None:
    """Build with executed outputs (`book`) or committed ones (`html`), or `serve` the result."""
    parser = argparse.ArgumentParser(prog="python -m tools.book", description=__doc__)
    parser.add_argument("task", choices=["book", "html", "serve"])
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args(argv)
    if arguments.task == "serve":
        serve(arguments.port)
    else:
        build(execute=arguments.task == "book")


if __name__ == "__main__":
    main()
