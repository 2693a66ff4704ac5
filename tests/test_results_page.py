"""The results page is built from whatever records there are: none, some, three seeds of all."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcourse import (
    class_tables,
    ladder_tables,
    published,
    result_tables,
    results,
    scoreboard,
    speed_tables,
)
from segcourse.claims import CLAIMS
from segcourse.cli.suite_ladder import small_rungs
from segcourse.cli.suite_runs import RUNS, SMALL
from segcourse.errors import DataError
from segcourse.labels import CAMVID

pytest.importorskip("IPython")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "book" / "results.ipynb"
H, W, FRAMES = 32, 48, 6


def suite_record(name, seed, test, model="fcn8s-light", **more):
    """A record of the small list as `segcourse bench suite --small` writes it, made up."""

    def split(miou):
        iou = dict.fromkeys(CAMVID.names, miou) | {"Pole": None}
        return {"miou": miou, "pixel_accuracy": 0.8, "iou": iou, "trimap": {"miou": 0.2}}

    return {
        "name": name,
        "seed": seed,
        "command": f"segcourse bench suite --small --only {name}",
        "config": {"model": model, "batch": 8, "steps": 100, "precision": "fp32"},
        "data": {
            "name": "camvid",
            "size": [H, W],
            **{s: {"images": n} for s, n in (("train", 367), ("val", 101), ("test", 233))},
        },
        "epochs": 16.0,
        "start": None,
        "metrics": {
            "val": split(test + 0.1),
            "test": split(test),
            "always_majority": {"class": "Road", "val_miou": 0.027},
        },
        "curve": [
            {"step": 50, "loss": 1.0},
            {"step": 50, "miou": test},
            {"step": 100, "miou": test + 0.1},
        ],
        "parameters": 620_680,
        "images_per_second": 20.0,
        "peak_memory_mib": 900.0,
        "seconds": 45.0,
        "hardware": {"cpu": "A processor", "cores": 2, "threads": 1},
        "versions": {"segcourse": "0.1.0", "python": "3.11.7", "torch": "2.15.0"},
        "date": "2026-11-21T16:00:00+00:00",
        "maps": {
            "file": f"{name}-s{seed}.maps.png",
            "truth": "truth-camvid.maps.png",
            "frames": [f"frame{i}" for i in range(FRAMES)],
            "size": [H, W],
            "classes": list(CAMVID.names),
            "palette": ["#{:02x}{:02x}{:02x}".format(*c) for c in CAMVID.palette],
        },
    } | more


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A results folder without a record, and a function that puts records of the small list in."""
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(results, "folder", lambda: tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEGCOURSE_CAMVID", raising=False)
    truth = np.arange(H * W * FRAMES, dtype=np.uint8).reshape(H, -1) // 40 % 11

    def put(*records, folder="suite_small"):
        out = tmp_path / "results" / folder
        out.mkdir(exist_ok=True)
        void = truth.copy()
        void[:, :5] = 255
        Image.fromarray(void).save(out / "truth-camvid.maps.png")
        for i, record in enumerate(records):
            found = np.where(truth < i + 3, truth, 0).astype(np.uint8)
            Image.fromarray(found).save(out / record["maps"]["file"])
            path = out / f"{record['name']}-s{record['seed']}.json"
            path.write_text(json.dumps(record))
        return out

    return put


def run_page():
    """Run the page's cells; what each of them returns, as text where it is Markdown."""
    cells = json.loads(PAGE.read_text("utf-8"))["cells"]
    names, returned = {"__name__": "page"}, []
    for cell in [c for c in cells if c["cell_type"] == "code"][1:]:
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "cell", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
            returned.append(getattr(value, "data", value))
    return returned


def texts(returned):
    """What the cells say, with plain spaces."""
    return "\n".join(one for one in returned if isinstance(one, str)).replace("\u00a0", " ")


def test_without_a_record_every_table_says_not_run_and_shows_no_number_of_ours(place, capsys):
    told = texts(run_page())
    count = len([e for e in SMALL if not e.change and not e.seconds])
    assert f"Not run yet, {count} of {count}:" in told
    long = [e for e in RUNS if not e.change and not e.seconds]
    assert f"Not run yet, {len(long)} of {len(long)}:" in told
    for entry in long:
        assert scoreboard.display_name(entry.name) in told, "listed entry by entry"
    assert f"{len(CLAIMS)} claims: {len(CLAIMS)} not run yet." in told
    assert re.search(r"Behind the table stand 0 of \d+ records\.", told)
    # Classes, cost, val, means, confusion; equal seconds, claims on streets, membranes.
    assert returned_lines(told).count("Not run yet.") == 8
    assert "- **Not run**: streets at 120×160, light networks, a CPU and 360×480, a GPU;" in told
    for kind in ("Speedrun, GPU", "Throughput, GPU", "Throughput, CPU", "Profile, GPU"):
        assert f"**{kind}**: not run yet." in told
    assert told.count(" 2017 |") == len(published.CAMVID)
    assert "ours" not in told.split("| network | mIoU |")[1].splitlines()[0], "no column of ours"


def returned_lines(told):
    return [line.strip() for line in told.splitlines()]


def test_one_seed_is_shown_without_a_spread_and_is_called_one_seed(place, capsys):
    place(
        suite_record("fcn8s-light", 0, 0.31),
        suite_record("fcn16s-light", 0, 0.42, "fcn16s-light"),
        suite_record("patch", 0, 0.2, "patch", epochs=None),
    )
    returned = run_page()
    told = texts(returned)
    assert "| FCN-8s | 31.0 | 41.0 | 20.0 | 80.0 |" in told
    assert "3 records, seed 0. CPU: A processor, 1 of 2 cores. segcourse 0.1.0" in told
    assert "**not held (0 of 1)**: 31.0 against 42.0" in told
    assert "(3 networks, 1 seed each): first on test is FCN-16s, 42.0 %" in told
    count = len([e for e in SMALL if not e.change and not e.seconds])
    assert f"Not run yet, {count - 3} of {count}: FCN-32s, light;" in told
    assert "Val is above test for 3 of 3 networks, by 10.0 points on average." in told
    assert "No photographs: CamVid is not on this machine." in told
    widgets = [one for one in returned if type(one).__name__ == "Exploration"]
    assert len(widgets) == 3
    assert sum(type(one).__name__ == "HouseFigure" for one in returned) == 5


def test_three_seeds_have_a_mean_and_an_interval(place, capsys):
    runs = [
        suite_record(name, seed, miou, name)
        for name, seeds in (("fcn8s-light", (0.3, 0.4, 0.2)), ("fcn16s-light", (0.1, 0.3, 0.3)))
        for seed, miou in enumerate(seeds)
    ]
    place(*runs)
    told = texts(run_page())
    assert "| FCN-8s | 30.0 (20.0 to 40.0) | 40.0 (30.0 to 50.0)" in told
    assert "**held in part (2 of 3)**: 30.0 (20.0 to 40.0) against 23.3 (10.0 to 30.0)" in told
    assert "6 records, seeds 0, 1, 2." in told


FULL = ("patch", "fcn8s-vgg16", "fcn32s-vgg16", "unet", "fcn8s-light", "unet-light")


def test_records_of_a_gpu_fill_every_section_of_the_full_list(place, capsys):
    """What the page will be given after `make gpu`, at toy size, beside the small list."""
    place(*(suite_record(n, 0, 0.2, n) for n in ("patch", "unet-light", "fcn8s-light")))
    runs = [
        suite_record(name, seed, 0.5 + i / 50, name, hardware=MACHINE["hardware"])
        for i, name in enumerate(FULL)
        for seed in (0, 1)
    ]
    out = place(*runs, folder="suite")
    group = {"groups": [{"group": "convolution", "share": 1.0}], "seconds_per_step": 0.01}
    recipe = {"model": "unet", "precision": "bf16", "batch": 8, "height": 360, "width": 480}
    speedrun = {
        "timeline": [{"part": "train", "seconds": 40.0}],
        "seconds": 41.0,
        "seconds_without_compile": 41.0,
        "val": {"miou": 0.75},
        "test": {"miou": 0.61},
        "target": 0.601,
        "reached": True,
        "ended_by_val": True,
        "checks": [{"step": 600, "seconds": 39.0, "val_miou": 0.75}],
    }
    for kind, record in (
        ("speedrun", {"config": {"recipe": recipe, "margin": 0.13}, "metrics": speedrun}),
        ("throughput", throughput_record()),
        ("profile", {"config": recipe, "metrics": group}),
    ):
        (out / kind).mkdir()
        (out / kind / "x.json").write_text(json.dumps(MACHINE | record))
    returned = run_page()
    told = texts(returned)
    assert "| FCN-8s, VGG16 | 52.0 (52.0 to 52.0) | 62.0 (62.0 to 62.0)" in told
    for title in ("Small, 120×160", "Full size, 360×480"):
        assert told.count(f"**{title}**") == 5, "classes, cost, val, means, confusion"
    assert "| light, 120×160 | light, 360×480 | full networks, 360×480 |" in told
    assert "Val is above test for 6 of 6 networks" in told
    assert "Val is above test for 3 of 3 networks" in told
    kinds = [type(one).__name__ for one in returned]
    assert kinds.count("Exploration") == 6
    assert kinds.count("HouseFigure") == 8  # classes, cost, confusion twice; verdicts, legend
    for kind in ("Speedrun", "Throughput", "Profile"):
        assert f"**{kind}, GPU**\n\n|" in told
    assert "**Profile, CPU**: not run yet." in told
    assert "| at least 5 | reached |" in told
    assert "| 61.0 |" in told


def test_photographs_are_those_of_the_frames_whatever_their_files_are(
    place, tmp_path, monkeypatch, capsys
):
    place(suite_record("patch", 0, 0.2, "patch"))
    for folder in ("test", "testannot"):
        (tmp_path / "streets" / folder).mkdir(parents=True)
    for i, suffix in ((1, "webp"), (4, "png"), (9, "webp")):
        name, labels = f"frame{i}", Image.fromarray(np.zeros((H, W), np.uint8))
        grey = Image.fromarray(np.full((H, W, 3), 20 * i, np.uint8))
        grey.save(tmp_path / "streets" / "test" / f"{name}.{suffix}", lossless=True)
        labels.save(tmp_path / "streets" / "testannot" / f"{name}.png")
    monkeypatch.setenv("SEGCOURSE_CAMVID", str(tmp_path / "streets"))
    shown = []
    monkeypatch.setattr("segcourse.plotting.show_images", lambda images, **_: shown.extend(images))
    assert "No photographs" not in texts(run_page())
    assert [int(image.max()) for image in shown] == [20, 80]


def test_the_committed_page_holds_the_numbers_of_the_committed_records():
    cells = json.loads(PAGE.read_text("utf-8"))["cells"]
    outputs = "\n".join(
        "".join(output["data"].get("text/markdown", ""))
        for cell in cells
        for output in cell.get("outputs", ())
        if "data" in output
    )
    small = scoreboard.by_entry(results.read_all("suite_small").values())
    listed = [e.name for e in SMALL if "--data camvid" in e.flags and not e.change]
    titles = scoreboard.short_names([name for name in listed if name in small])
    for name, runs in small.items():
        if name in titles and not name.endswith(result_tables.SECONDS):
            row = re.escape(f"| {titles[name]}") + rf"({result_tables.MARK})? \| .*"
            for split in ("test", "val"):
                row += re.escape(scoreboard.cell(runs, f"metrics.{split}.miou")) + r" \| .*"
            assert re.search(row, outputs), name
    climbed = ladder_tables.rows(small_rungs(), small)
    assert ladder_tables.table(climbed) in outputs
    assert ladder_tables.told(climbed) in outputs
    assert "No photographs: CamVid is not on this machine." in outputs


# ---- cells of tables


def test_a_number_that_a_record_lacks_is_not_a_run_that_is_missing():
    assert scoreboard.cell([], "metrics.test.miou") == "not run yet"
    assert scoreboard.cell([{"metrics": {"test": None}}], "metrics.test.miou") == "–"
    assert scoreboard.cell([{"n": 1234.5}], "n", scale=1, digits=0) == "1,234"
    assert np.isnan(scoreboard.average([], "n"))


def test_records_are_gathered_by_entry_in_order_of_their_seeds():
    runs = [suite_record("a", seed, 0.1 * seed) for seed in (2, 0)]
    found = scoreboard.by_entry([*runs, {"metrics": {"times": []}}, {"command": "bench crf"}])
    assert list(found) == ["a"]
    assert [run["seed"] for run in found["a"]] == [0, 2]


def test_the_protocol_names_what_must_be_equal():
    assert scoreboard.protocol(suite_record("a", 0, 0.5)) == (
        "CamVid at 32×48, 367 training images, random weights at the start, 100 steps of 8 images "
        "(16 epochs), fp32; chosen on 101 val images, 233 test images measured once"
    )
    other = suite_record("a", 0, 0.5, epochs=None, start={"run": "b-s0"})
    other["data"] |= {"test": None}
    told = scoreboard.protocol(other)
    assert "those of b at the start, 100 steps of 8 windows, fp32" in told
    assert told.endswith("no test images")
    both = scoreboard.protocols([suite_record("a", 0, 0.5), other])
    assert "random weights or those of b at the start, 100 steps of 8 images" in both
    timed = suite_record("a", 0, 0.5, budget={"seconds": 90.0})
    assert "as many steps of 8 images as fit into 90 seconds" in scoreboard.protocol(timed)


def test_provenance_names_hardware_versions_days_and_seeds():
    first, second = suite_record("a", 0, 0.5), suite_record("a", 1, 0.5)
    second |= {"date": "2026-11-23T01:00:00+00:00"}
    second["hardware"] = second["hardware"] | {"gpu": "A GPU"}
    assert scoreboard.provenance([first, second]) == (
        "2 records, seeds 0, 1. A GPU, A processor, 1 of 2 cores and CPU: A processor, "
        "1 of 2 cores. segcourse 0.1.0, python 3.11.7, torch 2.15.0. 2026-11-21 to 2026-11-23."
    )
    assert scoreboard.provenance([]) == "No record is there: not run yet."


def test_seconds_are_images_shown_over_images_a_second():
    record = suite_record("a", 0, 0.4)
    assert scoreboard.points_of(record) == [(8.0, 20.0, 0.4), (16.0, 40.0, 0.5)]
    assert scoreboard.seconds_to(record, 0.4) == 20
    assert scoreboard.seconds_to(record, 0.41) == 40
    assert scoreboard.seconds_to(record, 0.6) is None


def test_a_network_that_never_gets_there_says_so():
    runs = {"fcn8s-light": [suite_record("a", 0, 0.4), suite_record("a", 1, 0.2)]}
    table = result_tables.costs(list(runs), runs, lambda name: 2e9, 0.45)
    assert "| FCN-8s | 0.62 | 2.00 | 20.0 (20.0\u00a0to\u00a020.0) | 40, in 1 of 2 |" in table
    for run in runs["fcn8s-light"]:
        run["hardware"] = run["hardware"] | {"gpu": "A GPU"}
    table = result_tables.costs(list(runs), runs, lambda name: 2e9, 0.9)
    assert "| 20.0 (20.0\u00a0to\u00a020.0) | 900 | never |" in table


def test_a_network_that_continues_another_says_so():
    runs = {"a-light": [suite_record("", 0, 0.5, start={"run": "dilated-light-s0"})]}
    table = result_tables.equal_epochs(["a-light"], runs)
    assert "| a\u00a0† | 50.0 |" in table
    told = result_tables.under(table, runs)
    assert "† continues Dilated front end with the same seed, so it had the training of" in told


def test_seeds_have_a_column_where_networks_have_different_ones():
    runs = {"a": [suite_record("a", 0, 0.5)], "b": [suite_record("b", s, 0.4) for s in (0, 1)]}
    table = result_tables.equal_epochs(["b", "a"], runs)
    assert table.splitlines()[0].startswith("| network | seeds | test mIoU |")
    assert table.splitlines()[2].startswith("| a | 0 only | 50.0 |"), "best first"


def test_several_views_are_told_apart_from_the_protocol():
    run = suite_record("a", 0, 0.5)
    run["metrics"]["test_views"] = {"miou": 0.52}
    told = result_tables.under("", {"a": [run]})
    assert "which is another protocol, a has 52.0 on test in the place of 50.0." in told


def test_names_are_short_where_that_is_enough():
    assert scoreboard.short_names(["unet-light", "patch"])["unet-light"] == "U-Net"
    assert scoreboard.short_names(["unet-light", "unet"])["unet-light"] == "U-Net, light"


def test_classes_have_their_best_and_worst_network_and_a_class_that_is_absent_a_dash():
    runs = {n: [suite_record(n, 0, miou)] for n, miou in (("a", 0.3), ("b", 0.5))}
    rows = class_tables.class_summary(["b", "a"], runs).splitlines()
    assert "| Sky | 40.0 | 50.0, b | 30.0, a |" in rows
    assert "| Pole | – | – | – |" in rows
    assert "| b | 50 | 50 | – |" in class_tables.classes_table(["b", "a"], runs)


def test_a_network_without_a_number_is_neither_best_nor_worst():
    runs = {n: [suite_record(n, 0, miou)] for n, miou in (("a", 0.3), ("b", 0.4), ("c", 0.5))}
    runs["b"][0]["metrics"]["test"]["iou"]["Sky"] = None
    rows = class_tables.class_summary(["a", "b", "c"], runs).splitlines()
    assert "| Sky | 40.0 | 50.0, c | 30.0, a |" in rows


def test_membranes_are_scored_as_pixels_and_as_cells():
    objects = {"adapted_rand_error": 0.4, "merged": 111, "split": 6, "missed": 52, "objects": 684}
    val = {"miou": 0.7, "iou": {"membrane": 0.6}, "objects": objects}
    runs = {name: [run_of(val)] for name in ("unet-isbi-light", "unet-isbi-light-no-border")}
    table = result_tables.cells_table(list(runs), runs)
    assert "| without border weights | 60.0 | 40.0 |" in table
    assert "| all of it | 60.0 | 40.0 | 111 | 6 | 52 |" in table


def run_of(val):
    return {"seed": 0, "metrics": {"val": val, "test": None}}


def test_equal_seconds_stand_beside_equal_epochs():
    budget = {"seconds": 60.0, "steps": 1500, "of": "unet-light"}
    runs = {
        "unet-light": [suite_record("unet-light", 0, 0.5)],
        "unet-light-seconds": [suite_record("unet-light-seconds", 0, 0.55, budget=budget)],
    }
    table = result_tables.equal_seconds(["unet-light"], runs)
    assert "| U-Net | 55.0 | 50.0 | 1,500 |" in table


def test_published_rows_and_ours_have_columns_of_their_own():
    full = {"unet": [suite_record("unet", 0, 0.61)]}
    small = {"unet-light": [suite_record("unet-light", 0, 0.33)]}
    table = result_tables.beside_published(published.CAMVID, full, small)
    (row,) = (line for line in table.splitlines() if "like U-Net" in line)
    assert row.endswith("| 55.2 | 367 | no | 360×480 | 86.8 | Jégou 2017 | 61.0 | 33.0 |")
    assert "another task" in table.splitlines()[0]
    assert "ours" not in result_tables.beside_published(published.CAMVID, {}, {})


def test_the_puzzle_of_the_page_is_in_the_published_table():
    rows = [row for row in published.CAMVID if row.model == "DeconvNet"]
    assert sorted((row.miou, row.images) for row in rows) == [(48.9, 367), (59.77, 3433)]
    best = max((r for r in published.CAMVID if not r.pretrained), key=lambda r: r.miou)
    assert (best.model, best.miou) == ("FC-DenseNet103", 66.9)
    count = len(published.CAMVID)
    assert f"of the {count * (count - 1) // 2} pairs" in PAGE.read_text("utf-8")


def test_profiles_have_a_column_each_and_a_dash_where_a_group_is_absent():
    def record(model, **shares):
        config = {"model": model, "precision": "bf16", "batch": 8, "height": 360, "width": 480}
        groups = [{"group": name, "share": share} for name, share in shares.items()]
        return {"config": config, "metrics": {"groups": groups, "seconds_per_step": 0.0123}}

    table = speed_tables.profiles([record("unet", conv=0.6, data=0.1), record("aspp", conv=0.5)])
    assert table.splitlines()[2:] == [
        "| conv | 60.0 | 50.0 |",
        "| data | 10.0 | – |",
        "| a step, ms | 12.3 | 12.3 |",
    ]


MACHINE = {
    "hardware": {"cpu": "A processor", "cores": 2, "threads": 1, "gpu": "A GPU"},
    "versions": {"segcourse": "0.1.0", "python": "3.11.7", "torch": "2.15.0"},
    "date": "2026-11-21T16:00:00+00:00",
    "seed": 0,
    "command": "segcourse bench speedrun",
}


def test_a_table_of_times_names_its_machine_and_its_command():
    told = speed_tables.with_source("T", [MACHINE])
    assert told.startswith("T\n\nOne record, seed 0. A GPU, A processor, 1 of 2 cores.")
    assert told.endswith("2026-11-21. Made by\n\n- `segcourse bench speedrun`")


def spread(median, low, high):
    return {"median": median, "lowest": low, "highest": high}


def throughput_record(gpu=True, epoch=6.0, step=1.25):
    """A record of benchmarks/throughput.py, made up."""

    def speed(median):
        return {"images_per_second": spread(median, 1.0, 2000.0)}

    ours = speed(1500.0) | {"operations_per_second": 3e14, "peak_bytes": 2**31}
    training = {
        "ours": ours,
        "torchvision_pipeline": speed(250.0),
        "smp": speed(1200.0),
        "ours_compiled": speed(1600.0),
        "smp_compiled": {"error": "the minutes were over"},
    }
    ratios = {
        "torchvision_pipeline_over_ours": {"training": spread(epoch, 4.0, 8.0)},
        "smp_over_ours": {"training": spread(step, 0.5, 2.0)},
    }
    unet = {
        "model": "unet",
        "multiply_adds_forward": 100,
        "peer": {"name": 'smp.Unet("vgg13_bn")', "multiply_adds_forward": 104},
        "training": training,
        "inference": {"ours": speed(9.5)},
        "ratios": ratios,
    }
    alone = unet | {
        "model": "unet-light",
        "peer": {"missing": "it is not there"},
        "training": {"ours": ours, "torchvision_pipeline": {"error": "a worker died"}},
        "ratios": {},
    }
    networks = [unet, alone, {"model": "aspp", "error": "no memory"}]
    hardware = {k: v for k, v in MACHINE["hardware"].items() if gpu or k != "gpu"}
    return MACHINE | {
        "hardware": hardware,
        "config": {"workers": 16},
        "command": "python benchmarks/throughput.py",
        "metrics": {"matrix_operations_per_second": 6e14, "networks": networks},
    }


def test_throughput_shows_every_way_and_what_ended_one():
    assert speed_tables.throughput(throughput_record()).splitlines()[2:] == [
        "| unet | ours | 1,500.0 (1.0 to 2,000.0) | 9.5 (1.0 to 2,000.0) | 50 | 2.0 |",
        "| unet | torchvision pipeline, 16 workers | 250.0 (1.0 to 2,000.0) | – | – | – |",
        "| unet | smp | 1,200.0 (1.0 to 2,000.0) | – | – | – |",
        "| unet | ours compiled | 1,600.0 (1.0 to 2,000.0) | – | – | – |",
        "| unet | smp compiled | the minutes were over | – | – | – |",
        "| unet-light | ours | 1,500.0 (1.0 to 2,000.0) | 9.5 (1.0 to 2,000.0) | 50 | 2.0 |",
        "| unet-light | torchvision pipeline, 16 workers | a worker died | – | – | – |",
        "| aspp | – | no memory | – | – | – |",
    ]


def test_the_median_of_the_turns_decides_whether_an_aim_was_reached():
    fed = "an epoch: torchvision pipeline (16 workers) over ours"
    smp = 'ours over smp.Unet("vgg13_bn")'
    none = "ours over the other library's network"
    over = "not measured: the minutes were over"
    assert speed_tables.aims(throughput_record()).splitlines()[2:] == [
        f"| unet | {fed} | – | 6.00 (4.00 to 8.00) | at least 5 | reached |",
        f"| unet | a step: {smp} | 1.04 | 0.80 (0.50 to 2.00) | at most 1 | reached |",
        f"| unet | a step, both compiled: {smp} | 1.04 | – | at most 1 | {over} |",
        f"| unet-light | {fed} | – | – | at least 5 | not measured: a worker died |",
        f"| unet-light | a step: {none} | – | – | at most 1 | not measured: it is not there |",
        "| aspp | – | – | – | – | no memory |",
    ]
    missed = speed_tables.aims(throughput_record(epoch=4.99, step=0.99)).splitlines()
    assert [line.split(" | ")[-1] for line in missed[2:4]] == ["not reached |"] * 2
    exact = speed_tables.aims(throughput_record(epoch=5.0, step=1.0)).splitlines()
    assert [line.split(" | ")[-1] for line in exact[2:4]] == ["reached |"] * 2
    slow = speed_tables.aims(throughput_record(gpu=False)).splitlines()
    assert slow[2].endswith("| 6.00 (4.00 to 8.00) | at least 5 | the aim is for a GPU |")


def test_the_dense_crf_on_a_gpu_is_a_row_for_each_setting():
    found = {
        "total_seconds": 0.00421,
        "build_seconds": 0.002,
        "rounds_seconds": 0.0022,
        "fraction_of_copy_bandwidth": 0.314,
    }
    config = {"height": 375, "width": 500, "labels": 21, "iterations": 10}
    one = {"config": config, "metrics": {"parameters": {"README": found, "DeepLab": found}}}
    rows = speed_tables.dense_crf([one]).splitlines()
    assert len(rows) == 4
    cells = [cell.strip() for cell in rows[2].strip("|").split("|")]
    assert cells == ["README, 500×375, 21 labels, 10 rounds", "4.21", "2.00", "2.20", "31"]


def test_a_device_has_tables_of_its_own_and_one_without_records_a_line():
    records = [throughput_record(), throughput_record(gpu=False)]
    told = speed_tables.by_device("T", lambda some: f"{len(some)} shown", records, "GPU", "CPU")
    assert told.startswith("**T, GPU**\n\n1 shown\n\nOne record, seed 0. A GPU, A processor")
    assert "**T, CPU**\n\n1 shown\n\nOne record, seed 0. CPU: A processor" in told
    assert speed_tables.by_device("T", str, [], "GPU", "CPU") == (
        "**T, GPU**: not run yet.\n\n**T, CPU**: not run yet."
    )


def test_weights_are_listed_with_the_command_that_measures_them_again():
    record = suite_record("", 0, 0.5) | {"name": "a", "command": "segcourse weights check a"}
    row = result_tables.weights([record]).splitlines()[-1]
    assert row.endswith("| `segcourse weights check a` | 0.62 | 60.0 | 50.0 | 2026-11-21 |")
    assert "(https://github.com/segcourse/segcourse/blob/main/weights/a/card.md)" in row


def test_a_range_is_a_line_through_its_point():
    from segcourse import plotting

    points, ranges = {"a": (1.0, 30.0), "b": (2.0, 20.0)}, {"a": (28.0, 33.0)}
    figure = plotting.named_points(points, xlabel="x", ylabel="y", ranges=ranges)
    first, *_ = figure.axes[0].lines
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([1.0, 1.0], [28.0, 33.0])
    assert len(figure.axes[0].lines) == 2, "the range of one, and the points of both"


# ---- records of a folder


def test_all_records_of_a_folder_are_read_and_a_missing_folder_is_empty(place):
    assert results.read_all("suite_small") == {}
    place(suite_record("b", 0, 0.2), suite_record("a", 0, 0.1))
    assert list(results.read_all("suite_small")) == ["suite_small/a-s0", "suite_small/b-s0"]


def test_label_maps_come_back_as_frames_and_a_wrong_file_is_named(place):
    out = place(suite_record("a", 0, 0.1))
    maps = results.read_maps("suite_small", "truth-camvid.maps.png", (H, W))
    row = np.array(Image.open(out / "truth-camvid.maps.png"))
    assert maps.shape == (FRAMES, H, W)
    assert np.array_equal(maps[1], row[:, W : 2 * W])
    with pytest.raises(DataError, match=r"32 x 288 pixels, and frames of 32 x 47 side by side"):
        results.read_maps("suite_small", "truth-camvid.maps.png", (H, 47))
    with pytest.raises(DataError, match=r"no label maps in .*x\.png .*run the suite again"):
        results.read_maps("suite_small", "x.png", (H, W))


def test_the_readme_has_the_numbers_of_the_small_list():
    small = scoreboard.by_entry(results.read_all("suite_small").values())
    listed = [e.name for e in SMALL if "--data camvid" in e.flags and not e.change and not e.of]
    ranked = result_tables.ranked([name for name in listed if name in small], small)
    titles = scoreboard.short_names(ranked)
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    (row,) = (line for line in readme if line.startswith("| CamVid at 120x160, 14 light networks"))
    shown = [*ranked[:3], ranked[-1]]
    assert ", ".join(titles[name] for name in shown) in row
    scores = [f"{scoreboard.average(small[name], 'metrics.test.miou'):.3f}" for name in shown]
    assert f"| {', '.join(scores[:3])}; {scores[3]} |" in row
    (row,) = (line for line in readme if line.startswith("| CamVid at 120x160, the small ladder"))
    ends = [small["best-small-0-plain"], small["best-small"]]
    scores = [
        ", ".join(f"{scoreboard.average(runs, f'metrics.{on}.miou'):.3f}" for on in ("val", "test"))
        for runs in ends
    ]
    assert f"{len(ends[-1])} seeds" in row
    assert f"| {'; '.join(scores)} |" in row
    (row,) = (line for line in readme if line.startswith("| ISBI-EM, val, light U-Net"))
    for name in ("unet-isbi-light", "unet-isbi-light-no-border"):
        merged, rand = (
            scoreboard.average(small[name], f"metrics.val.objects.{key}")
            for key in ("merged", "adapted_rand_error")
        )
        assert f"{merged:.0f} and {rand:.2f}" in row
