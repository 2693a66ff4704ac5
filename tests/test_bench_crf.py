"""The dense CRF timed: `segcourse bench crf`, and the benchmarks against pydensecrf and size."""

import importlib
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from cli_tools import call

from segcourse.cli import timing
from segcourse.cli.bench_crf import PARAMETERS, bytes_of_a_round
from segcourse.dense_crf import DenseCRF
from segcourse.permutohedral import Lattice

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Import a benchmark by its name, as it imports its neighbours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_bench_crf_relates_bytes_to_seconds(tmp_path, capsys, monkeypatch):
    small = partial(timing.copy_bandwidth, size=2**20)
    monkeypatch.setattr("segcourse.cli.bench_crf.copy_bandwidth", small)
    words = ["--height", 24, "--width", 30, "--labels", 3, "--iterations", 2, "--repeats", 1]
    words += ["--device", "cpu", "--json", tmp_path / "c.json"]
    code, out, _ = call(capsys, "bench", "crf", *words)
    assert code == 0
    found = json.loads((tmp_path / "c.json").read_text("utf-8"))["metrics"]
    assert "dense CRF, 24 x 30, 3 labels, 2 rounds, cpu" in out
    assert set(found["parameters"]) == {"README", "DeepLab"}
    for name, one in found["parameters"].items():
        assert f"{name}: {one['sxy']:g} pixels, {one['srgb']:g} colour units" in out
        assert min(one[key] for key in ("total_seconds", "build_seconds", "rounds_seconds")) > 0
        assert one["round_seconds"] == pytest.approx(one["rounds_seconds"] / 2, rel=1e-4)
        fraction = one["round_bytes"] / one["round_seconds"] / found["copy_bytes_per_second"]
        assert one["fraction_of_copy_bandwidth"] == pytest.approx(fraction, rel=1e-4)
    # Narrower colours make more lattice points, each with fewer pixels.
    assert (
        found["parameters"]["DeepLab"]["lattice_points"]
        > (found["parameters"]["README"]["lattice_points"])
    )


def test_bench_crf_and_the_benchmark_have_the_same_parameters(script):
    assert script("crf").PARAMETERS == PARAMETERS


def test_bytes_of_a_round_are_those_of_the_arrays():
    crf, image = DenseCRF(7), torch.zeros(1, 3, 6, 8, dtype=torch.uint8)
    lattices = [Lattice(each) for each in crf.features(image, torch.float32)]
    pixels = torch.zeros(48, 7)
    arrays = [pixels] * 4 + [torch.zeros(48, 2)]  # unary, message, softmax in and out; 1 entry
    for built in lattices:
        rows = built.splat(pixels)
        arrays += [pixels, built.pixel, built.splat_weights, rows, built.start[1:]]
        for axis in built.axes:
            arrays += [rows, rows, axis, built.taps]
        arrays += [rows, built.index, built.slice_weights]
    assert bytes_of_a_round(lattices, 48, 7) == sum(x.nbytes for x in arrays)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (("--labels", 1), "--labels is 1: give 2 or more"),
        (("--height", 0), "--height is 0: give 1 or more"),
        (("--iterations", 0), "--iterations is 0: give 1 or more"),
        (("--repeats", 0), "--repeats is 0: give 1 or more"),
    ],
)
def test_bench_crf_refuses_what_it_cannot_time(flag, message, capsys):
    code, out, err = call(capsys, "bench", "crf", *flag)
    assert (code, out) == (2, "")
    assert message in err


def test_benchmark_says_what_to_install(script, capsys, monkeypatch):
    crf = script("crf")
    monkeypatch.setattr("sys.argv", ["crf.py"])
    monkeypatch.setattr(crf.importlib.util, "find_spec", lambda name: None)
    assert crf.main() == 1
    assert "pip install pydensecrf2 scikit-image" in capsys.readouterr().err


def test_techniques_and_their_alternatives_give_the_same_numbers(script, tmp_path, monkeypatch):
    # The script compares the results of every pair before it times them.
    pytest.importorskip("skimage")
    tried, out = script("crf_tried"), tmp_path / "tried.json"
    monkeypatch.setattr(tried, "others_busy", lambda: 0.0)
    monkeypatch.setattr(tried.torch, "set_num_threads", lambda threads: None)
    words = ["crf_tried.py", "--size", "24", "32", "--repeats", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", words)
    assert tried.main() == 0
    rows = json.loads(out.read_text("utf-8"))["metrics"]["rows"]
    assert {row["parameters"] for row in rows} == {"README", "DeepLab"}
    assert all(row["ratio_lowest"] <= row["ratio"] <= row["ratio_highest"] for row in rows)


def test_exponent_of_a_line_and_of_a_square(script):
    exponent = script("crf_scaling").exponent
    rows = [{"pixels": n, "total_ms": 3 * n} for n in (10, 100, 1000, 10000)]
    assert exponent(rows, "pixels") == pytest.approx(1)
    rows = [{"pixels": n, "total_ms": n * n} for n in (10, 100, 1000, 10000)]
    assert exponent(rows, "pixels") == pytest.approx(2)
