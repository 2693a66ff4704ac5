"""The wall around a worker: bubblewrap, an unprivileged user, nothing of this machine inside.

No network, a read-only system, a process space of its own, small file systems in memory. The
package itself is not inside, so the reference can't be imported there.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSIDE = "/grader"
FILES = ("fork_server.py", "worker.py", "wire.py", "student.py")
TEMPORARY, SHARED = 64 << 20, 16 << 20
NOBODY = "65534"
PYTHON = (sys.executable, "-s", "-P")
"""As with -I nothing but the system is on its path; variables count, and those are ours."""
OVERRIDE = "--without-sandbox"
LIBRARIES = ("numpy", "torch")
"""What every submission may import."""
IMPORTED_WITHIN = 180
"""Seconds that torch may take to import on a busy machine."""


class NoSandbox(OSError):
    """Bubblewrap is missing, or it does not work here."""

    def __str__(self):
        return self.args[0]


def why_not() -> str:
    """Why a worker can't be walled in on this system; nothing where it can."""
    if not sys.platform.startswith("linux"):
        return f"bubblewrap needs Linux; this is {sys.platform}"
    for tool in ("bwrap", *(("setpriv",) if os.geteuid() == 0 else ())):
        if shutil.which(tool) is None:
            package = "bubblewrap" if tool == "bwrap" else "util-linux"
            return f"{tool} is not installed (Debian, Ubuntu: apt-get install {package})"
    try:
        code = "import socket, sys"
        command = [*walls(), *PYTHON, "-c", code]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "bwrap did not come back within 60 s"
    return f"bwrap fails: {run.stderr.strip()[-300:]}" if run.returncode else ""


def libraries_missing() -> str:
    """Why numpy and torch can't be imported behind the wall; nothing where they can."""
    code = f"import json, sys; sys.path += json.loads(sys.argv[1]); import {', '.join(LIBRARIES)}"
    command = [*walls(), *PYTHON, "-c", code, json.dumps(library_folders())]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=IMPORTED_WITHIN, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the import did not end within {IMPORTED_WITHIN} s"
    said = run.stderr.strip().splitlines() or ["it ended without a word"]
    return said[-1][-300:] if run.returncode else ""


def require() -> None:
    """Refuse to go on where there is no sandbox, or where right answers could not run in it.

    Raises:
        NoSandbox: with the reason; where there is none, also the flag that overrides.
    """
    reason = why_not()
    if reason:
        raise NoSandbox(
            f"{reason}. Students' code would run with your rights: it could read your files and "
            f"change marks. Grade on a Linux machine with bubblewrap, or, for code that you "
            f"trust, pass {OVERRIDE}"
        )
    reason = libraries_missing()
    if reason:
        raise NoSandbox(
            f"{' and '.join(LIBRARIES)} can't be imported in the sandbox: {reason}. It sees "
            f"folders named site-packages or dist-packages, and no variables of your environment. "
            f"Grade with a Python that has them there, such as a virtual environment"
        )


@functools.cache
def walls(forks: bool = False) -> tuple[str, ...]:
    """The words before a command that is to run behind the wall.

    Args:
        forks: leave it the right to make namespaces: for `fork_server`, which builds a wall around
            each worker that it forks.
    """
    root = os.geteuid() == 0
    words = ["bwrap", "--die-with-parent", "--new-session", "--clearenv"]
    words += ["--unshare-net", "--unshare-ipc", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--hostname", "grader"]
    own = ["--unshare-user", *(() if forks else ("--disable-userns",))]
    own += ["--uid", NOBODY, "--gid", NOBODY, "--cap-drop", "ALL"]
    processes = ["--unshare-pid", "--proc", "/proc"]
    # What root mounts at /proc is partly covered, and forks could not mount theirs: the inner wall
    # of root's forks mounts it.
    words += ["--bind", "/proc", "/proc"] if root and forks else processes
    words += ["--dev", "/dev"]
    words += ["--perms", "1777", "--size", str(SHARED), "--tmpfs", "/dev/shm"]
    # Before the system: this Python may itself be somewhere under /tmp.
    words += ["--perms", "1777", "--size", str(TEMPORARY), "--tmpfs", "/tmp"]
    words += _system()
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    for name, value in _environment().items():
        words += ["--setenv", name, value]
    if not root:
        return (*words, *own, "--")
    words += [*_unprivileged(), "bwrap", "--die-with-parent", *own, "--dev-bind", "/", "/"]
    return (*words, *(processes if forks else ()), "--chdir", "/tmp", "--")


def _unprivileged() -> list[str]:
    """Root's worker becomes a user whom nobody else is, since limits don't bind root."""
    user = str(300_000 + os.getpid() % 1_000_000)
    words = ["--cap-drop", "ALL"]
    for name in ("SETUID", "SETGID", "SETPCAP"):
        words += ["--cap-add", f"CAP_{name}"]
    words += ["--", "setpriv", "--reuid", user, "--regid", user, "--clear-groups"]
    return [*words, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]


def own_folders() -> dict[str, dict]:
    """Folders of which each fork gets an empty one: `size` in bytes, and what stays in it."""
    sizes = {"/tmp": TEMPORARY, "/dev/shm": SHARED}
    return {
        folder: {
            "size": size,
            "kept": [str(p) for p in python_folders() if p.is_relative_to(folder)],
        }
        for folder, size in sizes.items()
    }


def _system() -> list[str]:
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    words += ["--perms", "0755", "--dir", "/etc"]
    for name in ("ld.so.cache", "alternatives", "localtime"):
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for folder in python_folders():
        for parent in reversed(folder.parents[:-1]):
            words += ["--perms", "0755", "--dir", str(parent)]
        words += ["--ro-bind", str(folder), str(folder)]
    for path in hidden_folders():
        words += ["--perms", "0755", "--tmpfs", str(path), "--remount-ro", str(path)]
    words += ["--perms", "0755", "--dir", INSIDE]
    for name in FILES:
        words += ["--ro-bind", str(HERE / name), f"{INSIDE}/{name}"]
    return words


def python_folders() -> list[Path]:
    """Folders of this Python and its libraries that must be seen inside, outermost alone."""
    wanted = [Path(sys.base_prefix), Path(sys.prefix)]
    wanted += map(Path, library_folders())
    wanted = sorted({path.resolve() for path in wanted if path.is_dir()} - {Path("/")})
    found: list[Path] = []
    for path in wanted:
        inside = [Path("/usr"), *found]
        if not any(path.is_relative_to(other) for other in inside):
            found.append(path)
    return found


def library_folders() -> list[str]:
    """Folders of packages that are seen inside, also a user's own and those on PYTHONPATH."""
    found = [Path(entry) for entry in sys.path if entry.endswith("-packages")]
    return list(dict.fromkeys(str(path.resolve()) for path in found if path.is_dir()))


def hidden_folders() -> list[Path]:
    """Where the reference is installed in a folder that is seen inside."""
    seen = [Path("/usr"), *python_folders()]
    places = {Path(entry or ".").resolve() / "segcourse" for entry in sys.path}
    places.add(HERE.parent)
    return sorted(p for p in places if p.is_dir() and any(p.is_relative_to(s) for s in seen))


def _environment() -> dict[str, str]:
    return {
        "HOME": "/tmp/home",
        "PATH": "/usr/bin:/bin",
        "USER": "student",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }
