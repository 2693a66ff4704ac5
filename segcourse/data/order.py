"""Which images a step shows, as a function of seed and step alone (book/sliding_window.ipynb).

Images are taken from one permutation after another, an endless sequence; the batch at step t is
numbers t B to t B + B - 1 of it. Where an epoch does not divide into batches, the batch at the
seam goes on into the next permutation, so no image is ever dropped.
"""

import numpy as np
import torch

ORDER, VIEWS, WINDOWS, DEFORMATIONS, PASTES = range(5)
"""What a generator is for: streams for different purposes never share numbers."""


def generator_for(seed: int, purpose: int, number: int) -> torch.Generator:
    """A generator on the CPU whose numbers depend on these three alone."""
    # SeedSequence mixes its words, so neighbouring seeds and steps are unrelated.
    word = np.random.SeedSequence([seed, purpose, number]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word >> np.uint64(1)))


def sample_indices(seed: int, n: int, start: int, stop: int) -> list[int]:
    """Numbers start..stop-1 of the endless sequence of permutations of 0..n-1.

    Args:
        seed: of the run.
        n: images in the set.
        start, stop: positions in the sequence; epoch e is positions e n to e n + n - 1.

    Returns:
        stop - start indices.
    """
    epochs = range(start // n, (stop - 1) // n + 1)
    orders = [torch.randperm(n, generator=generator_for(seed, ORDER, e)) for e in epochs]
    first = epochs.start * n
    return torch.cat(orders)[start - first : stop - first].tolist()


def share(size: int, rank: int, world: int) -> slice:
    """Say which part of a batch of `size` belongs to process `rank` of `world`.

    Raises:
        ValueError: the batch does not divide by `world`, or there is no such process.
    """
    if size % world or not 0 <= rank < world:
        raise ValueError(
            f"a batch of {size} for process {rank} of {world}: the processes share a batch "
            f"equally, so give a batch size that {world} divides, and a rank below {world}"
        )
    part = size // world
    return slice(rank * part, (rank + 1) * part)
