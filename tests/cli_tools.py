"""What the tests of the command line share: one small data set and one way to call it."""

from pathlib import Path

import numpy as np
from PIL import Image

from segcourse.cli import main


def call(capsys, *words) -> tuple[int, str, str]:
    """Run one command in this process: exit code, standard output, standard error."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    told = capsys.readouterr()
    return code, told.out, told.err


def make_folder(root: Path, train: int = 4, val: int = 2, size: tuple[int, int] = (16, 20)) -> Path:
    """Write a plain data set of two classes: bright squares on a dark ground, void between."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            labels = np.zeros(size, np.uint8)
            labels[4:12, 4:12] = 1
            labels[3, 3:13] = 255
            image = rng.integers(0, 60, (*size, 3)) + 150 * (labels == 1)[..., None]
            Image.fromarray(image.astype(np.uint8)).save(root / split / "images" / f"{i}.png")
            Image.fromarray(labels).save(root / split / "masks" / f"{i}.png")
    (root / "classes.txt").write_text("ground #101010\nsquare #e69f00\n", encoding="utf-8")
    return root


def train_words(root: Path, out: Path, *more) -> list[str]:
    """A run of six steps on `make_folder`'s data, on the CPU."""
    words = ["train", "--data", "folder", "--root", root, "--out", out, "--steps", 6, "--batch", 2]
    words += ["--eval-every", 3, "--checkpoint-every", 2, "--device", "cpu", *more]
    return [str(word) for word in words]
