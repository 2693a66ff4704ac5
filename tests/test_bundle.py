"""A suite's folder as a few small files, and back."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from segcourse.errors import DataError
from tools import bundle, gpu

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20


def fill(out: Path, files: dict[str, int]) -> Path:
    """A folder with files of so many bytes, which do not compress."""
    for name, size in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return out


def held(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


RECORDS = (
    "unet-s0.json",
    "unet-s0.maps.png",
    "failed/patch-s0.json",
    "superseded/unet-s0-1.json",
    "speedrun/seed-0.json",
    "throughput/gpu.json",
    "throughput/gpu.tries",
    "profile/unet.json",
    "crf/gpu.json",
)
START = (
    "trained/dilated-light-s0/run.json",
    "trained/dilated-light-s0/log.jsonl",
    "trained/dilated-light-s0/checkpoints/step-000500/weights.safetensors",
)
IN_HAND = ("runs/segnet-s0/config.json", "runs/segnet-s0/checkpoints/step-000500/state.pt")


def test_what_is_bundled_and_put_back_is_equal(tmp_path):
    out = fill(tmp_path / "out", dict.fromkeys((*RECORDS, *START, *IN_HAND), 3000))
    before = held(out)
    fill(out, {"runs/segnet-s0/tensorboard/events": 10, "runs/x/checkpoints/.partial-1/a": 10})
    fill(out, {".lock": 1, "runs/segnet-s0/.config.json.1.partial": 10})
    carried = fill(tmp_path / "carried", {"suite-1-of-9.part": 5})  # of an earlier bundle
    told = bundle.save(out, carried, part=20_000)
    parts = sorted(path.name for path in carried.iterdir())
    assert parts == ["suite-1-of-3.part", "suite-2-of-3.part", "suite-3-of-3.part"]
    assert max(path.stat().st_size for path in carried.iterdir()) <= 20_000
    assert told.startswith("bundle: 3 files, 0.0 MB in ")
    back = fill(tmp_path / "back", {"runs/segnet-s0/checkpoints/step-000900/state.pt": 5})
    assert bundle.load(carried, back) == f"bundle: {len(before)} files put back into {back}"
    assert held(back) == before


def test_records_go_first_then_starts_then_runs_in_hand_then_small_weights(tmp_path):
    sizes = dict.fromkeys(RECORDS, 1000) | dict.fromkeys(START, 50_000)
    sizes |= dict.fromkeys(IN_HAND, 50_000)
    weights = "checkpoints/step-1/weights.safetensors"
    sizes |= {f"trained/unet-light-s0/{weights}": 40_000, f"trained/unet-s0/{weights}": 300_000}
    sizes |= {f"trained/dilated-vgg16-s0/{weights}": 900_000}
    out = fill(tmp_path / "out", sizes)
    all_of = [*RECORDS, *START, *IN_HAND, f"trained/unet-light-s0/{weights}"]
    for limit, wanted in (
        (40_000, RECORDS),
        (200_000, (*RECORDS, *START)),
        (320_000, (*RECORDS, *START, *IN_HAND)),
        (400_000, all_of),
    ):
        shutil.rmtree(tmp_path / "back", ignore_errors=True)
        told = bundle.save(out, tmp_path / "carried", limit)
        assert sum(p.stat().st_size for p in (tmp_path / "carried").iterdir()) <= limit
        bundle.load(tmp_path / "carried", tmp_path / "back")
        assert set(held(tmp_path / "back")) >= set(RECORDS)
        if limit != 40_000:  # then small weights may fill the room
            assert set(held(tmp_path / "back")) >= set(wanted)
        assert "trained/dilated-vgg16-s0" in told.partition("too large for it: ")[2]
    assert told.endswith("too large for it: trained/dilated-vgg16-s0, trained/unet-s0")


def test_the_largest_bundle_comes_back_and_goes_in_again_with_the_tracked_files():
    """At most 8 files of 16 MiB come back; 64 MiB go in, and half of a pack beside the files."""
    assert bundle.PART <= 16 * MIB
    assert bundle.LIMIT <= 7 * bundle.PART  # and a log
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    tracked = sum((ROOT / name).stat().st_size for name in names if (ROOT / name).exists())
    assert tracked + bundle.LIMIT < 64 * MIB
    assert tracked + 30 * MIB < 64 * MIB  # `split -b 30M` of a pack


def test_bad_bundles_are_refused_and_nothing_is_put_back(tmp_path, capsys):
    out, carried, back = fill(tmp_path / "out", {"a-s0.json": 9000}), tmp_path / "c", tmp_path / "b"
    with pytest.raises(DataError, match="is no folder: give the --out of a suite"):
        bundle.save(tmp_path / "absent", carried)
    with pytest.raises(DataError, match=r"holds no suite-1-of-N\.part"):
        bundle.load(carried, back)
    bundle.save(out, carried, part=4000)
    first = carried / "suite-1-of-3.part"
    content = first.read_bytes()
    first.write_bytes(content[:2000] + b"x" * 2000)
    with pytest.raises(DataError, match="is damaged"):
        bundle.load(carried, back)
    first.unlink()
    with pytest.raises(DataError, match="holds 2 parts of 3: all parts of one bundle are needed"):
        bundle.load(carried, back)
    assert bundle.main(["load", str(carried), str(back)]) == 1
    assert "bundle: " in capsys.readouterr().err
    assert not back.exists()


def test_toy_suite_goes_on_after_a_bundle(tmp_path, monkeypatch, capsys):
    """As on a machine that keeps nothing: what is done comes back, and only the rest is made."""
    out, carried, again = (tmp_path / name for name in ("out", "carried", "again"))
    made = fill(out, {"toy-s0.json": 100, "trained/toy-s0/run.json": 10})
    before = held(made)
    calls = []

    def process(self, words, told, seconds):
        calls.append(words)
        return 0

    monkeypatch.setattr(gpu.Process, "__call__", process)
    monkeypatch.setattr(gpu.signal, "signal", lambda *_: None)
    words = ["--toy", "--bundle", str(carried)]
    assert gpu.main(["--out", str(out), *words]) == 0
    back = ["--unbundle", str(carried)]
    assert gpu.main(["--out", str(again), *words, *back]) == 0
    assert held(again) == before
    assert calls[0][-1] == "--toy"
    fill(again, {"other-s0.json": 5})
    assert gpu.main(["--out", str(again), *words, *back]) == 0  # the machine was still warm
    assert (again / "other-s0.json").exists()
    assert "is there: " in capsys.readouterr().out
    assert gpu.main(["--out", str(tmp_path / "x"), *words, "--unbundle", str(tmp_path)]) == 1
    assert "holds no suite-1-of-N.part" in capsys.readouterr().err


def test_parts_of_a_pack_joined_are_the_pack(tmp_path):
    """`split -b` and `cat`, as docs/gpu.md has it; names sort in order."""
    pack = fill(tmp_path, {"camvid.zip": 70_000}) / "camvid.zip"
    for tool in ("split", "cat"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    subprocess.run(["split", "-b", "30000", pack, f"{pack}."], check=True)
    joined = subprocess.run(f"cat {pack}.a?", shell=True, capture_output=True, check=True).stdout
    assert joined == pack.read_bytes()
