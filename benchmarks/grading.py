"""How long a class takes to mark: the sandbox of `segcourse grade run` against stock nbgrader.

    python benchmarks/grading.py --submissions 100 --out results/grading/speed.json

The same submissions of one assignment, on so many cores, one way after the other: `segcourse grade
run` with one shard a core, gradebook included, and `nbgrader autograde` in one run (stock: it
starts a kernel for each submission, without a sandbox, on one core). Memory is the most that all
processes of a way used together; a page that several share counts once. CPU time is that of all
processes; it says what a busy machine's clock does not. Linux only, with bubblewrap, and as root:
control groups count the CPU time.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path

from segcourse.grading import notebook
from segcourse.grading.course import Course
from segcourse.grading.processes import family
from segcourse.records import record, write_record

ROOT = Path(__file__).resolve().parent.parent


class Watch:
    """Runs a command, and looks at the memory of all its processes every second."""

    def __init__(self, command: list[str], folder: Path):
        group = group_of_processes()
        command = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(group / "cgroup.procs"), *command]
        start = time.perf_counter()
        log = (folder / "log.txt").open("w")
        self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        self.peak = 0.0
        looker = threading.Thread(target=self.look, daemon=True)
        looker.start()
        self.process.wait()
        self.seconds = time.perf_counter() - start
        looker.join()
        log.close()
        while (group / "cgroup.procs").read_text():  # the last of them are ending
            time.sleep(0.01)
        self.cpu = cpu_seconds(group)
        group.rmdir()
        if self.process.returncode:
            said = (folder / "log.txt").read_text()[-2000:]
            raise RuntimeError(f"{' '.join(command)} ended with {self.process.returncode}: {said}")

    def look(self) -> None:
        """Look until the process ends."""
        while self.process.poll() is None:
            self.peak = max(self.peak, sum(map(own_mib, family(self.process.pid))))
            time.sleep(1)

    def __str__(self):
        return f"{self.seconds:.0f} s, {self.cpu:.0f} s of CPU time, {self.peak:.0f} MiB"


def group_of_processes() -> Path:
    """A control group for one way: it counts the CPU time of a sandbox's processes, too."""
    top = Path("/sys/fs/cgroup")
    group = (top / "cpuacct" if (top / "cpuacct").is_dir() else top) / f"grading-{os.getpid()}"
    group.mkdir()
    return group


def cpu_seconds(group: Path) -> float:
    """CPU time of all processes that have been in a control group."""
    if (group / "cpuacct.usage").exists():
        return int((group / "cpuacct.usage").read_text()) / 1e9
    return int((group / "cpu.stat").read_text().split()[1]) / 1e6


def own_mib(pid: int) -> float:
    """Memory of a process in MiB, with its share of the pages that others have, too."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    kib = [int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    return sum(kib) / 1024


def hand_in(course: Course, stem: str, count: int, received: Path) -> None:
    """So many submissions: every second one right, the others with one answer left out."""
    release, source = course.read("release", stem), course.read("source", stem)
    solved = {notebook.grade_id(cell): cell["source"] for cell in source["cells"]}
    answers = list(release["metadata"]["segcourse"]["answers"])
    for number in range(count):
        left_out = answers[number // 2 % len(answers)] if number % 2 else None
        made = json.loads(json.dumps(release))
        for cell in made["cells"]:
            name = notebook.grade_id(cell)
            if name in answers and name != left_out:
                cell["source"] = solved[name]
        notebook.write(made, received / f"s{number:03}" / f"{stem}.ipynb")


def prepare(folder: Path, args: argparse.Namespace) -> Course:
    """A course folder with everything taken in."""
    words = [sys.executable, "-m", "segcourse", "grade"]
    place = ["--course", str(folder / "course")]
    sources = ["--exercises", str(ROOT / args.exercises)]
    subprocess.run([*words, "build", args.assignment, *sources, *place], check=True, cwd=ROOT)
    course = Course(folder / "course")
    hand_in(course, args.assignment, args.submissions, folder / "received")
    received = ["--received", str(folder / "received")]
    subprocess.run([*words, "intake", args.assignment, *place, *received], check=True, cwd=ROOT)
    return course


def stock(course: Course) -> None:
    """Take our steps out of nbgrader's settings."""
    path = course.root / "nbgrader_config.py"
    path.write_text(path.read_text().split("# The buttons")[0])


def scores(course: Course, stem: str) -> dict[str, float]:
    """Points from tests, by student."""
    from segcourse.grading.gradebook import Gradebook

    found = Gradebook(course).scores(stem)
    return {s: sum(v for v in row["cells"].values() if v is not None) for s, row in found.items()}


def main() -> int:
    """Measure both ways, compare their marks, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=100, help="how many")
    parser.add_argument("--cores", type=int, default=2, help="shards of ours")
    parser.add_argument("--assignment", default="sliding_window", help="which assignment")
    parser.add_argument("--exercises", default="exercises", help="folder of its source")
    parser.add_argument("--out", type=Path, help="write the record here")
    args = parser.parse_args()
    start, stem = time.perf_counter(), args.assignment
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        course = prepare(folder, args)
        other = Course(folder / "stock")
        shutil.copytree(course.root, other.root)
        stock(other)
        load = os.getloadavg()[0]
        print(f"load {load:.2f}: on a busy machine compare the CPU times", flush=True)
        place = ["--course", str(course.root), "--shards", str(args.cores)]
        ours = Watch([sys.executable, "-m", "segcourse", "grade", "run", stem, *place], folder)
        print(f"segcourse grade run: {ours}", flush=True)
        theirs = Watch([sys.executable, "-m", "nbgrader", "autograde", stem], other.root)
        print(f"nbgrader autograde:  {theirs}", flush=True)
        same = scores(course, stem) == scores(other, stem)
    faster = theirs.seconds / ours.seconds
    print(f"{faster:.1f} times as fast; marks {'equal' if same else 'differ'}")
    if args.out:
        ways = {"segcourse": ours, "nbgrader": theirs}
        metrics = {
            name: {"seconds": way.seconds, "cpu_seconds": way.cpu, "peak_mib": way.peak}
            for name, way in ways.items()
        }
        metrics |= {"times_as_fast": faster, "marks_equal": same, "load_before": load}
        config = {"submissions": args.submissions, "shards": args.cores, "assignment": stem}
        config["nbgrader"] = metadata.version("nbgrader")
        command = ["python", "benchmarks/grading.py", *sys.argv[1:]]
        seconds = time.perf_counter() - start
        write_record(args.out, record(command, config, 0, metrics, [], seconds))
        print(f"wrote {args.out}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
