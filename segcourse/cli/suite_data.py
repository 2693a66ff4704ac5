"""The data of a suite: opened and read once for many runs, and named by their content."""

from dataclasses import replace
from pathlib import Path

import torch

from segcourse.cli.sources import Sets, open_sets, open_split
from segcourse.config import Config
from segcourse.data import GENERATED
from segcourse.data.base import SegmentationData
from segcourse.data.files import layout
from segcourse.data.pack import content_hash, is_pack, read_contents
from segcourse.data.resident import ResidentSet
from segcourse.errors import DataError, UsageError

LAID_OUT = ("camvid", "isbi", "folder")


def find(given: list[str]) -> dict[str, str]:
    """Read --data-pack.

    Args:
        given: files of `segcourse data pack`, or NAME=FOLDER.

    Returns:
        Names of data sets to what --root takes.

    Raises:
        UsageError: neither of the two, or one data set twice.
        DataError: a file that is no pack, or damaged.
    """
    found: dict[str, str] = {}
    for word in given:
        name, _, folder = word.partition("=")
        if Path(word).is_file():
            name, folder = read_contents(word).name, word
        elif not folder:
            raise DataError(
                f"--data-pack {word} does not exist: give a file that `segcourse data pack` "
                "wrote, or NAME=FOLDER, as camvid=path/to/CamVid"
            )
        elif not Path(folder).exists():
            raise DataError(f"--data-pack {word}: {folder} does not exist")
        if name in found:
            raise UsageError(f"--data-pack gives {name} twice: {found[name]} and {folder}")
        found[name] = folder
    return found


class SuiteData:
    """The splits of the data set in use, kept on the device while runs use it.

    Args:
        roots: names of data sets to folders or packs.
        device: where they are kept.
    """

    def __init__(self, roots: dict[str, str], device: torch.device):
        self.roots, self.device = roots, device
        self._key: tuple = ()
        self._sets: Sets | None = None
        self._test: SegmentationData | None = None
        self._resident: dict[str, ResidentSet] = {}
        self._identity: dict = {}

    def has(self, name: str) -> bool:
        """Whether a data set can be opened."""
        return name in GENERATED or name in self.roots

    def root(self, name: str) -> str:
        """What --root is for a data set."""
        return self.roots.get(name, "")

    def use(self, config: Config) -> dict:
        """Open and read the data of a run, unless they are in use already.

        Returns:
            What names them: `name`, `size`, and for every split `images` and the `sha256` of
            `content_hash`, which is the same for a folder and its pack.

        Raises:
            UsageError, DataError: as `open_sets`, and what is wrong with a file.
        """
        config = replace(config, root=self.root(config.data))
        key = config.data, config.root, config.height, config.width
        if key == self._key:
            return self._identity
        self._key, self._resident = (), {}  # the others leave the device first
        self._sets = open_sets(config)
        size = (config.height, config.width) if config.height else None
        self._test = None
        if has_test(config.data, config.root):
            self._test = open_split(config.data, config.root, "test", size)
        self._identity = {"name": config.data, "size": list(self._sets.size)}
        for data in (self._sets.train, self._sets.val, self._test):
            if data is None:
                continue
            whole = ResidentSet.load(data)
            hashed = content_hash(zip(whole.images, whole.labels, strict=True))
            self._identity[data.split] = {"images": len(whole), "sha256": hashed}
            self._resident[data.split] = ResidentSet(
                whole.images.to(self.device), whole.labels.to(self.device), whole.classes
            )
        self._key = key
        return self._identity

    @property
    def sets(self) -> Sets:
        """The train and the val split in use."""
        return self._sets

    def load(self, data: SegmentationData, device: torch.device | None = None) -> ResidentSet:
        """A split in use, as `ResidentSet.load` would read it."""
        return self._resident[data.split]

    def resident(self, split: str) -> ResidentSet | None:
        """A split in use by its name; None where the data set has none of that name."""
        return self._resident.get(split)

    def stem(self, split: str, index: int) -> str:
        """The name of an image of a split in use."""
        opened = {"train": self._sets.train, "val": self._sets.val, "test": self._test}
        return opened[split].stem(index)


def has_test(name: str, root: str) -> bool:
    """Whether a data set has a split called test."""
    if name in GENERATED:
        return True
    if is_pack(root):
        return "test" in read_contents(root).splits
    return name in LAID_OUT and "test" in layout(name, Path(root))
