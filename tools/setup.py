"""Make `.venv` and install into it what requirements.txt pins, once per content of the pins.

Standard library only, and plain enough for an old Python to read: it runs before anything is
installed, and its first duty is to say what is wrong with the Python that it was given.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "segcourse-setup"
OLDEST, NEWEST = (3, 11), (3, 13)


def usable_python():
    """Return a Python of 3.11 or newer: the one that runs this, or another on the PATH."""
    if sys.version_info[:2] >= OLDEST:
        if sys.version_info[:2] > NEWEST:
            print(
                "Python {}.{} is newer than the {}.{} that this course is tested on. Going on;\n"
                "if a package fails to install, run: make PYTHON=python3.13".format(
                    *(sys.version_info[:2] + NEWEST)
                )
            )
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which("python3." + str(minor))
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return found
    sys.exit(
        "This Python ({}) is {}.{}; the course needs 3.11 to 3.13, and no such Python is on the "
        "PATH.\nInstall one from https://www.python.org/downloads/ or your package manager, "
        "then run: make PYTHON=/path/to/python3".format(sys.executable, *sys.version_info[:2])
    )


def venv_python():
    """Return the path of the virtual environment's Python."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint():
    """Return a digest of what the environment is made from, its place included."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("requirements.txt", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def works(python):
    """Return whether this Python starts; after a move or an upgrade it may not."""
    return (
        python.exists()
        and subprocess.call([str(python), "-c", "import pip"], stderr=subprocess.DEVNULL) == 0
    )


def create():
    """Make an empty virtual environment, or say which system package is missing."""
    base = usable_python()
    print("Making a virtual environment in .venv with", base, flush=True)
    if VENV.exists():
        shutil.rmtree(str(VENV))
    if subprocess.call([base, "-m", "venv", str(VENV)]) != 0 or not works(venv_python()):
        shutil.rmtree(str(VENV), ignore_errors=True)
        sys.exit(
            f"{base} could not make a virtual environment (its words are above).\n"
            "On Debian and Ubuntu the module is a package of its own: "
            "sudo apt-get install python3-venv"
        )


def talk(command):
    """Run pip and pass on what a person waits for: large downloads, the end, what goes wrong."""
    routine = ("Requirement already", "Ignoring ", "Collecting ", "Looking in ", "  Using cached ")
    with subprocess.Popen(command, stdout=subprocess.PIPE, universal_newlines=True) as run:
        for line in run.stdout:
            small = line.startswith("  Downloading ") and " MB)" not in line
            if not small and not line.startswith(routine):
                # The last lines list two hundred packages.
                print(line.rstrip()[:100], flush=True)
    return run.returncode


def install():
    """Install the pins, then this package as an editable install."""
    print(
        "Installing what requirements.txt pins: about 5 GB and some minutes, the first time.",
        flush=True,
    )
    pip = [str(venv_python()), "-m", "pip", "--disable-pip-version-check", "install"]
    # The pins hold setuptools, so the package needs no build environment of its own.
    for arguments in (
        ["-r", str(ROOT / "requirements.txt")],
        ["--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT)],
    ):
        if talk(pip + arguments) != 0:
            sys.exit(
                "pip could not install (its words are above). Without a network or behind a "
                "mirror,\nset its index: pip config set global.index-url ADDRESS. Then run the "
                "same command again; what was downloaded is kept."
            )


def main():
    """Bring `.venv` up to date; nothing to do costs a twentieth of a second."""
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted and venv_python().exists():
        return
    start = time.time()
    if not works(venv_python()):
        create()
    install()
    STAMP.write_text(wanted)
    print(f"Set up in {time.time() - start:.0f} s.")


if __name__ == "__main__":
    main()
