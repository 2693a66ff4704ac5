"""The run configuration refuses what cannot work, and says what to do."""

import json
from dataclasses import asdict, fields

import pytest

from segcourse.config import MAY_DIFFER, Config, differences
from segcourse.errors import UsageError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0.0}, r"lr is 0\.0: give a value above 0"),
        ({"lr": float("nan")}, "lr is nan: give a finite number"),
        ({"lr": "0.1"}, "lr is '0.1': give a number"),
        ({"steps": 0}, "steps is 0: give a value above 0"),
        ({"steps": 2.5}, r"steps is 2\.5: give a whole number"),
        ({"batch": -1}, "batch is -1"),
        ({"steps": 10, "warmup": 10}, "warmup is 10 of 10 steps.*more steps"),
        ({"optimizer": "adam"}, "optimizer is 'adam': give one of adamw, sgd"),
        ({"schedule": "cosine"}, "schedule is 'cosine': give one of constant, step, poly"),
        ({"precision": "fp16"}, "precision is 'fp16': give one of fp32, bf16"),
        ({"height": 64}, "height is 64 and width is 0: give both, or neither"),
        ({"crop": (64, 0)}, r"crop is \(64, 0\)"),
        ({"scale": (2.0, 0.5)}, r"scale is \(2\.0, 0\.5\): give the smallest factor"),
        ({"scale": (0.05, 2.0)}, r"scale is \(0\.05, 2\.0\): give the smallest factor, 0\.1 or"),
        ({"flip": 1.5}, "flip is 1.5: give a number from 0 to 1"),
        ({"copy_paste": 1.5}, "copy_paste is 1.5: give a number from 0 to 1"),
        ({"ema": 1.0}, "ema is 1.0: give 0 or more and less than 1"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"milestones": (0.9, 0.5)}, "milestones is .*rising"),
        ({"milestones": (300.0,)}, "milestones is .*between 0 and 1"),
        ({"seed": -1}, "seed is -1: give 0 or more"),
        ({"eval_every": -5}, "eval_every is -5"),
    ],
)
def test_a_value_that_cannot_work_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        Config(**values)


def test_every_field_has_a_help_text_for_its_flag():
    assert [f.name for f in fields(Config) if len(f.metadata.get("help", "")) < 10] == []


def test_defaults_are_within_their_choices():
    for f in fields(Config):
        assert "choices" not in f.metadata or f.default in f.metadata["choices"]


def test_differences_name_each_field_but_those_that_may_differ():
    saved = json.loads(json.dumps(asdict(Config(lr=0.1, crop=(8, 8), device="cpu"))))
    assert differences(saved, Config(lr=0.1, crop=(8, 8), device="auto")) == []
    assert differences(saved, Config(lr=0.2, crop=(8, 8))) == ["lr: 0.1 -> 0.2"]
    del saved["clip"]
    assert differences(saved, Config(lr=0.1, crop=(8, 8))) == ["clip: not there -> 0.0"]
    assert set(MAY_DIFFER) == {"root", "device", "workers", "out", "start"}
