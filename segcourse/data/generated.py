"""What data sets that come from a seed share: their arguments, and how an item is found and named.

`scenes` and `cells` say what an image looks like; this module says what a seed, an index and a
split are, and refuses those that are none.
"""

from segcourse.data.base import SPLITS, SegmentationData
from segcourse.labels import Classes


class Generated(SegmentationData):
    """A data set without files: item i follows from the seed, the split and i.

    Args:
        name: as in DATASETS.
        classes: names and palette of the K classes.
        length: number of images.
        size: (H, W) in pixels, both at least 32.
        seed: 0..2^32-1; another seed gives other images.
        split: "train", "val" or "test", which share no image.

    Raises:
        ValueError: an argument outside what is said above.
    """

    def __init__(
        self,
        name: str,
        classes: Classes,
        length: int,
        size: tuple[int, int],
        seed: int,
        split: str,
    ) -> None:
        super().__init__(name, split, classes)
        if length < 0:
            raise ValueError(f"length is {length}, need 0 or more images")
        check_arguments(seed, 0, size, split)
        self.length = length
        self.size = size
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def index_of(self, index: int) -> int:
        """Count a negative index from the end.

        Raises:
            IndexError: the index is outside 0..length-1.
        """
        if not -self.length <= index < self.length:
            raise IndexError(f"image {index} of {self.length}")
        return index % self.length

    def stem(self, index: int) -> str:
        """Name item `index`, for reports and output files."""
        return f"{self.name}-{self.split}-{self.seed}-{index % max(1, self.length):05d}"


def check_arguments(seed: int, index: int, size: tuple[int, int], split: str) -> None:
    """Refuse what no image can be made from.

    Raises:
        ValueError: a seed or index outside 0..2^32-1, a side below 32 px, an unknown split.
    """
    if not (0 <= seed < 2**32 and 0 <= index < 2**32):
        raise ValueError(f"seed {seed}, index {index}: both are whole numbers from 0 to 2^32 - 1")
    if len(size) != 2 or min(size) < 32:
        raise ValueError(f"size is {size}, need (H, W) with both at least 32 pixels")
    if split not in SPLITS:
        raise ValueError(f'split is "{split}", need one of {", ".join(SPLITS)}')
