"""Batch streams: a function of seed and step alone, the same from memory and from files."""

import itertools
import multiprocessing
import time
import traceback

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from segcourse.data.augment import Augmentation, normalise
from segcourse.data.base import SegmentationData
from segcourse.data.batches import LoaderBatches, PatchBatches, ResidentBatches
from segcourse.data.order import ORDER, VIEWS, generator_for, sample_indices
from segcourse.data.resident import ResidentSet, evaluation_batches, evaluation_images
from segcourse.errors import DataError
from segcourse.labels import IGNORE, Classes

CLASSES = Classes(("a", "b", "c"), ((0, 0, 0), (9, 9, 9), (99, 99, 99)))
RICH = Augmentation((10, 12), (0.7, 1.5), 0.5, 0.3, 0.3, 0.3)
# Workers are forked while torch's threads idle, as torch's loader does on Linux.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Little(SegmentationData):
    """Random images; the corner pixel of image i is (i, 0, 0), so a whole image tells its index."""

    def __init__(self, n=7, sizes=((12, 14),), void=0.2):
        super().__init__("little", "train", CLASSES)
        self.n, self.sizes, self.void = n, sizes, void

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        g = torch.Generator().manual_seed(index)
        size = self.sizes[index % len(self.sizes)]
        image = torch.randint(256, (3, *size), generator=g, dtype=torch.uint8)
        image[:, 0, 0] = torch.tensor([index, 0, 0])
        labels = torch.randint(3, size, generator=g)
        labels[torch.rand(size, generator=g) < self.void] = IGNORE
        return image, labels

    def stem(self, index):
        return f"image{index}"


def resident(n=7, void=0.2):
    return ResidentSet.load(Little(n, void=void))


def streams(augmentation=RICH, batch=4, seed=0):
    return [
        ResidentBatches(resident(), batch, augmentation, seed),
        LoaderBatches(Little(), batch, augmentation, seed),
        PatchBatches(resident(), batch, 5, seed),
        PatchBatches(resident(), batch, 5, seed, balanced=True),
    ]


def same(a, b):
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def shown(batches, steps):
    """Indices of the images in these steps, read from the corner pixels."""
    images = torch.cat([batches.batch(t)[0] for t in steps])
    corner = images[:, 0, 0, 0] * 0.229 + 0.485
    return (corner * 255).round().long().tolist()


each_stream = pytest.mark.parametrize("kind", range(4))


@each_stream
def test_same_step_gives_the_same_bytes_whatever_came_before(kind):
    first, second = streams()[kind], streams()[kind]
    later = [first.batch(t) for t in (5, 0, 3)]
    for t, batch in zip((3, 5, 0), (later[2], later[0], later[1]), strict=True):
        assert same(second.batch(t), batch)


@each_stream
def test_other_step_or_seed_gives_other_batches(kind):
    batches = streams()[kind]
    assert not same(batches.batch(0), batches.batch(1))
    assert not same(batches.batch(0), streams(seed=1)[kind].batch(0))


@each_stream
def test_stream_from_a_step_is_the_batches_from_there(kind):
    batches = streams()[kind]
    got = list(itertools.islice(batches.stream(3), 3))
    assert all(same(got[k], batches.batch(3 + k)) for k in range(3))


@each_stream
def test_batches_are_normalised_float32_and_int64_labels(kind):
    images, labels = streams()[kind].batch(0)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert images.min() < 0 < images.max()
    assert images.abs().max() < 2.7
    size = (10, 12) if kind < 2 else (5, 5)
    assert images.shape == (4, 3, *size)
    assert labels.shape == (4, *(size if kind < 2 else (1, 1)))


@each_stream
def test_slices_of_two_processes_put_together_equal_one_process(kind):
    batches = streams()[kind]
    for step in range(4):
        parts = [batches.batch(step, rank, 2) for rank in range(2)]
        whole = batches.batch(step)
        for k in range(2):
            joined = torch.cat([part[k] for part in parts])
            torch.testing.assert_close(joined, whole[k], atol=1e-5, rtol=0)


@each_stream
def test_the_global_seed_is_neither_read_nor_moved(kind):
    torch.manual_seed(0)
    first = streams()[kind].batch(2)
    before = torch.get_rng_state()
    second = streams()[kind].batch(2)
    assert torch.equal(before, torch.get_rng_state())
    assert same(first, second)


@pytest.mark.parametrize("augmentation", [RICH, Augmentation(), Augmentation(flip=0.5)])
def test_files_and_memory_give_equal_batches(augmentation):
    a, b = streams(augmentation)[:2]
    assert a.steps_per_epoch == b.steps_per_epoch
    for step in range(5):
        assert same(a.batch(step), b.batch(step))


@pytest.mark.parametrize("kind", [0, 1])
def test_every_image_is_seen_once_an_epoch_and_batches_go_on_across_the_seam(kind):
    batches = streams(Augmentation(), batch=3)[kind]
    assert batches.steps_per_epoch == 3
    order = shown(batches, range(7))  # 21 images are 3 epochs of 7
    epochs = [order[:7], order[7:14], order[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_sample_order_depends_on_position_alone():
    whole = sample_indices(3, 5, 0, 40)
    for start, stop in [(0, 1), (4, 6), (7, 8), (13, 29), (35, 40)]:
        assert sample_indices(3, 5, start, stop) == whole[start:stop]


def test_generators_for_neighbouring_numbers_and_other_purposes_are_unrelated():
    first = [
        torch.rand(1, generator=generator_for(seed, purpose, number)).item()
        for seed in (0, 1, 2)
        for purpose in (ORDER, VIEWS)
        for number in (0, 1, 2)
    ]
    assert len(set(first)) == 18


@pytest.mark.parametrize("pin", [False, True])
def test_memory_is_pinned_for_a_run_on_a_gpu_alone(pin, monkeypatch):
    from segcourse.data import batches

    given = {}
    monkeypatch.setattr(batches, "DataLoader", lambda *_, **options: given.update(options) or [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # the machine has one, unused
    list(LoaderBatches(Little(), 4, RICH, 0, workers=1, pin_memory=pin).stream())
    assert given["pin_memory"] is pin


@forks
def test_workers_give_the_same_batches_and_end_when_the_stream_is_dropped():
    batches = LoaderBatches(Little(), 4, RICH, 0, workers=2)
    before = torch.get_rng_state()
    stream = batches.stream(2, rank=1, world=2)
    for step in range(2, 6):
        assert same(next(stream), batches.batch(step, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert len(multiprocessing.active_children()) == 2
    del stream
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert multiprocessing.active_children() == []


class Sent(TorchDispatchMode):
    """Counts copies from the CPU to another device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        tensors = [x for x in (*args, found) if isinstance(x, torch.Tensor)]
        self.count += len({x.device.type for x in tensors if x.dim()}) > 1
        return found


@pytest.mark.parametrize("kind", [0, 2])
def test_a_batch_made_on_the_device_is_sent_its_indices_and_its_numbers_only(kind):
    batches = streams()[kind]
    batches.resident = ResidentSet(
        batches.resident.images.to("meta"), batches.resident.labels.to("meta"), CLASSES
    )
    if kind == 2:
        batches._pixels = batches._pixels.to("meta")
    batches.batch(0)  # sends the constants of the colours
    with Sent() as sent:
        images, _ = batches.batch(1)
    assert images.device.type == "meta"
    assert sent.count == (2 if kind == 0 else 1)


@forks
def test_an_error_in_a_worker_reaches_the_training_loop():
    class Broken(Little):
        def __getitem__(self, index):
            raise DataError("image3 is unreadable")

    stream = LoaderBatches(Broken(), 4, RICH, 0, workers=1).stream()
    with pytest.raises(DataError) as error:
        next(stream)
    assert str(error.value) == "image3 is unreadable"  # no words of torch's loader around it
    # Left to the garbage collector, torch's loader takes five seconds to end its workers.
    traceback.clear_frames(error.tb)
    del stream


def test_images_of_several_sizes_meet_in_one_crop():
    data = Little(sizes=((12, 14), (9, 20)))
    images, labels = LoaderBatches(data, 4, RICH, 0).batch(0)
    assert images.shape == (4, 3, 10, 12)
    assert (labels != IGNORE).any((1, 2)).all()


def test_images_of_several_sizes_without_a_crop_are_refused():
    data = Little(sizes=((12, 14), (9, 20)))
    with pytest.raises(DataError, match=r"2 sizes.*\(9, 20\), \(12, 14\).*--crop H W, .*crop="):
        LoaderBatches(data, 7, Augmentation(), 0).batch(0)


def test_label_outside_the_classes_names_the_image():
    class Wrong(Little):
        def __getitem__(self, index):
            image, labels = super().__getitem__(index)
            return image, labels + 1

    with pytest.raises(DataError, match=r"image0 of little train: labels hold 3"):
        ResidentSet.load(Wrong(void=0))
    with pytest.raises(DataError, match=r"image\d of little train: labels hold 3"):
        LoaderBatches(Wrong(void=0), 4, RICH, 0).batch(0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda x, y: (x / 255, y),
            r"image is \(3, 12, 14\) torch.float32, need \(3, H, W\) torch.ui",
        ),
        (
            lambda x, y: (x.permute(1, 2, 0), y),
            r"image is \(12, 14, 3\) torch.uint8, need \(3, H, W",
        ),
        (lambda x, y: (x[:1], y), r"image is \(1, 12, 14\)"),
        (
            lambda x, y: (x, y[:9]),
            r"labels are \(9, 14\) and the image \(3, 12, 14\): give one label",
        ),
        (lambda x, y: (x, y.float()), r"labels are torch.float32, need integers"),
    ],
)
def test_an_item_that_is_not_what_it_seems_is_named_and_never_trained_on(change, told):
    class Wrong(Little):
        def __getitem__(self, index):
            return change(*super().__getitem__(index))

    told = rf"image\d of little train: .*{told}"
    with pytest.raises(DataError, match=told):
        ResidentSet.load(Wrong())
    with pytest.raises(DataError, match=told):
        LoaderBatches(Wrong(), 4, RICH, 0).batch(0)
    with pytest.raises(DataError, match=told):
        next(evaluation_images(Wrong(), "cpu"))


@pytest.mark.parametrize("batch", [0, 8])
def test_batch_larger_than_the_set_or_empty_is_refused(batch):
    message = f"a batch of {batch} images from a set of 7: give a batch size of 1 to 7"
    with pytest.raises(ValueError, match=message):
        ResidentBatches(resident(), batch, RICH, 0)
    with pytest.raises(ValueError, match=message):
        LoaderBatches(Little(), batch, RICH, 0)


@each_stream
def test_batch_that_the_processes_cannot_share_is_refused(kind):
    with pytest.raises(ValueError, match="a batch of 4 for process 0 of 3"):
        streams()[kind].batch(0, 0, 3)
    with pytest.raises(ValueError, match="for process 2 of 2"):
        streams()[kind].batch(0, 2, 2)


def test_negative_seed_and_workers_are_refused():
    with pytest.raises(ValueError, match="seed is -1"):
        ResidentBatches(resident(), 4, RICH, -1)
    with pytest.raises(ValueError, match="seed is -1"):
        PatchBatches(resident(), 4, 5, -1)
    with pytest.raises(ValueError, match="workers is -2"):
        LoaderBatches(Little(), 4, RICH, 0, -2)


def padded(data, i, reach):
    image = data.images[i].float()[None] / 255
    return normalise(F.pad(image, (reach,) * 4, mode="reflect"))[0]


@pytest.mark.parametrize("window", [1, 5, 6, 15])
@pytest.mark.parametrize("balanced", [False, True])
def test_window_is_the_image_around_the_labelled_pixel(window, balanced):
    data = resident(2)
    batches = PatchBatches(data, 20, window, 0, balanced)
    windows, labels = batches.batch(0)
    assert labels.shape == (20, 1, 1)
    reach = window // 2
    images = [padded(data, i, reach) if reach else None for i in range(2)]
    images = [normalise(data.images[i][None].float() / 255)[0] if x is None else x
              for i, x in enumerate(images)]  # fmt: skip
    for patch, label in zip(windows, labels[:, 0, 0], strict=True):
        found = [
            (i, r, c)
            for i in range(2)
            for r, c in itertools.product(range(12), range(14))
            if torch.equal(images[i][:, r : r + window, c : c + window], patch)
        ]
        assert found  # windows of one pixel may occur at several places
        assert label in [data.labels[i, r, c] for i, r, c in found]
        assert window == 1 or len(found) == 1


def test_windows_reach_every_labelled_pixel_equally_and_no_void():
    labels = torch.full((2, 6, 6), IGNORE, dtype=torch.uint8)
    labels[0, 0, 0], labels[0, 5, 5], labels[1, 2, 3] = 0, 0, 1
    images = torch.zeros(2, 3, 6, 6, dtype=torch.uint8)
    images[:, 0] = torch.arange(36).reshape(6, 6)
    data = ResidentSet(images, labels, CLASSES)
    windows, classes = PatchBatches(data, 3000, 3, 0).batch(0)
    centre = ((windows[:, 0, 1, 1] * 0.229 + 0.485) * 255).round().long()
    counts = torch.bincount(centre, minlength=36)
    assert set(counts.nonzero()[:, 0].tolist()) == {0, 15, 35}
    assert (counts[[0, 15, 35]] - 1000).abs().max() < 130  # five standard deviations
    assert torch.equal(classes[:, 0, 0], (centre == 15).long())


def test_balanced_windows_show_every_class_equally_often():
    labels = torch.zeros(1, 20, 20, dtype=torch.uint8)
    labels[0, 3, 4] = 2  # one pixel in 400; class 1 does not occur
    data = ResidentSet(torch.zeros(1, 3, 20, 20, dtype=torch.uint8), labels, CLASSES)
    counts = [
        torch.bincount(PatchBatches(data, 2000, 3, 0, b).batch(0)[1].flatten(), minlength=3)
        for b in (False, True)
    ]
    assert counts[0][2] < 25
    assert counts[1][1] == 0
    assert abs(counts[1][2] - 1000) < 110  # five standard deviations


def test_impossible_windows_are_refused():
    with pytest.raises(ValueError, match=r"window is 24 px on images of 12x14: give 1 to 23"):
        PatchBatches(resident(), 4, 24, 0)
    with pytest.raises(ValueError, match="patches_per_batch is 0"):
        PatchBatches(resident(), 0, 5, 0)
    with pytest.raises(ValueError, match="every pixel of the set is void"):
        PatchBatches(resident(void=1.1), 4, 5, 0)


def test_resident_set_holds_the_bytes_of_the_data_at_four_a_pixel():
    data, loaded = Little(), resident()
    assert len(loaded) == 7
    assert loaded.size == (12, 14)
    assert loaded.nbytes == 4 * 7 * 12 * 14
    for i in range(7):
        assert torch.equal(loaded.images[i], data[i][0])
        assert torch.equal(loaded.labels[i].long(), data[i][1])


def test_resident_set_of_unequal_images_is_refused_with_sizes_counts_and_a_name():
    data = Little(5, sizes=((12, 14), (9, 20)))
    message = r"12x14 \(3 images\), 9x20 \(2 images\); image1 is the first.*size=\(H, W\) in open"
    with pytest.raises(DataError, match=message):
        ResidentSet.load(data)


def test_resident_set_of_nothing_is_refused():
    with pytest.raises(DataError, match="little train holds no image"):
        ResidentSet.load(Little(0))


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_evaluation_shows_every_image_once_in_order_and_unchanged(batch):
    data = resident()
    images, labels = (torch.cat(x) for x in zip(*evaluation_batches(data, batch), strict=True))
    assert torch.equal(images, normalise(data.images.float() / 255))
    assert torch.equal(labels, data.labels.long())
    single = list(evaluation_images(Little(), "cpu"))
    assert torch.equal(torch.cat([x for x, _ in single]), images)
    assert torch.equal(torch.cat([y for _, y in single]), labels)


def test_evaluation_of_several_processes_shows_every_image_once():
    for source in (
        lambda rank: evaluation_batches(resident(), 2, rank, 3),
        lambda rank: evaluation_images(Little(), "cpu", rank, 3),
    ):
        parts = [torch.cat([x for x, _ in source(rank)]) for rank in range(3)]
        corner = (torch.cat(parts)[:, 0, 0, 0] * 0.229 + 0.485) * 255
        assert sorted(corner.round().long().tolist()) == list(range(7))


def test_evaluation_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="batch_size is 0"):
        next(evaluation_batches(resident(), 0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_batches_equal_the_cpu():
    data = resident()
    moved = ResidentSet(data.images.cuda(), data.labels.cuda(), CLASSES)
    pairs = [
        (ResidentBatches(data, 4, RICH, 0), ResidentBatches(moved, 4, RICH, 0)),
        (PatchBatches(data, 9, 5, 0, True), PatchBatches(moved, 9, 5, 0, True)),
    ]
    for cpu, gpu in pairs:
        for step in range(3):
            (a, b), (c, d) = cpu.batch(step), gpu.batch(step)
            assert c.is_cuda
            torch.testing.assert_close(c.cpu(), a, atol=1e-5, rtol=0)
            assert torch.equal(d.cpu(), b)
