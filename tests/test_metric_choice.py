"""The record of the first chapter: one prediction, scored by every metric."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    command = [sys.executable, "experiments/metric_choice.py", "--quick", "--out", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "metric_choice.json").read_text())


def test_the_truth_itself_scores_one_in_every_metric(record):
    assert record["config"]["strides"][0] == 1
    assert {values[0] for values in record["metrics"].values()} == {1.0}


def test_a_coarser_grid_never_scores_higher(record):
    for values in record["metrics"].values():
        assert values == sorted(values, reverse=True)


def test_metrics_disagree_about_one_prediction_in_the_order_that_the_page_shows(record):
    at_16 = {name: values[4] for name, values in record["metrics"].items()}
    assert at_16["pixel_accuracy"] > at_16["miou"] > at_16["miou_per_image"] > at_16["trimap_iou"]
