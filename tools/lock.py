"""Write requirements.txt: one lock for Linux, macOS and Windows and for Python 3.11 to 3.13.

uv resolves it, from a throw-away environment, on the package index that pip is configured for.
Pins that still fit stay; `--upgrade` moves all of them.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def pip_setting(name: str) -> str:
    """Return one of pip's settings (file or environment), or nothing."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    values = dict(line.split("=", 1) for line in listing.splitlines() if "=" in line)
    value = values.get(f":env:.{name}") or values.get(f"global.{name}") or ""
    return value.strip("'\"")


def main() -> None:
    """Resolve pyproject.toml's ranges, with the extras that the book and the tests need."""
    parser = argparse.ArgumentParser(prog="python -m tools.lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest that fits")
    upgrade = ["--upgrade"] if parser.parse_args().upgrade else []
    index = pip_setting("index-url")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
        command = [python, "-m", "uv", "pip", "compile", "--quiet", "--universal"]
        command += ["--python-version", "3.11", "--extra", "book"]
        command += ["--extra", "test", "--extra", "grading"]
        command += ["--no-annotate", "--custom-compile-command", "make lock"]
        command += ["pyproject.toml", "-o", "requirements.txt", *upgrade]
        command += ["--index-url", index] if index else []
        subprocess.run(command, cwd=ROOT, check=True)
    print("requirements.txt is written. The next make installs it.")


if __name__ == "__main__":
    main()
