"""Records can be traced and never hold nan; a log drops what a killed run wrote too much."""

import json
import os
import platform
import sys
from datetime import datetime

import numpy as np
import pytest
import torch

from segcourse import records
from segcourse.config import Config


def example(**metrics):
    command = ["segcourse", "train", "--out", "a folder"]
    return records.record(command, Config(seed=3), 3, metrics, [{"step": 1, "loss": 0.5}], 12.5)


def test_a_record_names_command_versions_hardware_and_date():
    found = example(miou=0.5)
    assert found["command"] == "segcourse train --out 'a folder'"
    assert found["config"]["seed"] == found["seed"] == 3
    assert found["versions"].keys() == {"segcourse", "python", "torch", "torchvision", "numpy"}
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["numpy"] == np.__version__
    assert found["hardware"]["cores"] == os.cpu_count()
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert "gpu" not in found["hardware"]
    assert datetime.fromisoformat(found["date"]).utcoffset().total_seconds() == 0
    assert 50 < found["peak_memory_mib"] < 64_000


def test_a_written_record_is_sorted_json_without_nan(tmp_path):
    path = tmp_path / "deep" / "record.json"
    found = example(
        iou=torch.tensor([0.5, float("nan")], dtype=torch.float64),
        miou=np.float64(2 / 3),
        loss=float("inf"),
        cm=np.eye(2, dtype=np.int64),
    )
    records.write_record(path, found)
    text = path.read_text()
    read = json.loads(text, parse_constant=pytest.fail)  # called for NaN and Infinity
    assert read["metrics"] == {
        "iou": [0.5, None],
        "miou": 0.666667,
        "loss": None,
        "cm": [[1, 0], [0, 1]],
    }
    assert list(read) == sorted(read)
    assert text.endswith("}\n")


def test_a_record_is_replaced_at_once(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    records.write_record(path, {"run": 1})
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        records.write_record(path, {"run": 2})
    assert json.loads(path.read_text()) == {"run": 1}


def test_what_json_cannot_hold_is_refused_by_name():
    with pytest.raises(TypeError, match="not Conv2d: convert it"):
        records.plain({"model": torch.nn.Conv2d(1, 1, 1)})


def test_reopening_a_log_drops_lines_past_the_step_and_a_line_cut_short(tmp_path):
    log = records.RunLog(tmp_path, 0)
    for step in (10, 20, 30):
        log.write(step=step, loss=1 / step)
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    log = records.RunLog(tmp_path, 20)
    log.write(step=30, loss=9.0)
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == log.lines
    assert lines == [
        {"step": 10, "loss": 0.1},
        {"step": 20, "loss": 0.05},
        {"step": 30, "loss": 9.0},
    ]


def test_tensorboard_reads_back_what_was_logged(tmp_path):
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    log = records.RunLog(tmp_path, 0)
    log.write(step=7, loss=0.25, iou=[0.1, 0.2])
    log.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    values = [
        (event.step, value.tag, value.tensor.float_val[0])
        for event in loading.EventFileLoader(str(file)).Load()
        for value in event.summary.value
    ]
    assert values == [(7, "loss", 0.25)]


def test_without_tensorboard_the_log_goes_on_and_says_so_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = records.RunLog(tmp_path, 0)
    log.write(step=1, loss=0.5)
    log.write(step=2, loss=0.25)
    log.close()
    assert capsys.readouterr().err.count("tensorboard is not installed") == 1
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "tensorboard").exists()


def test_a_log_without_a_folder_keeps_its_lines(tmp_path):
    log = records.RunLog(None, 0)
    log.write(step=1, loss=torch.tensor(0.5))
    log.close()
    assert log.lines == [{"step": 1, "loss": 0.5}]
    assert list(tmp_path.iterdir()) == []
