"""The runs of `segcourse bench suite`, in order of worth: names, and flags of `segcourse train`.

To add a run, add an `Entry` where its worth puts it. Flags that every CamVid run shares stand in
CAMVID; a flag that stands later in the line wins. --data and the sizes belong to the entry, while
--seed, --root, --device and --out are the suite's. Every entry is run once for each of SEEDS: seed
0 of all entries first, so that a suite that is cut short has a number for every model. Runs with
a budget in seconds come after all seeds of the others.

One protocol for all: SegNet's split of CamVid at 360x480, the 367 training images alone, weights
from scratch, 120 epochs, the best checkpoint chosen on val and measured once on test. The recipe
is the same for every network but for the learning rate. The ladder to the best run (best-0-plain
and so on, `suite_ladder`) keeps the protocol, and changes the recipe step by step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from segcourse.cli.suite_ladder import Rung, rungs, small_rungs

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Entry:
    """One line of the list.

    name: of the records, NAME-s0.json for seed 0. flags: of `segcourse train`.
    start: name of another entry, whose best weights of the same seed this one starts from.
    views: factors of the image's size. Test is measured once more with the mean of the
        probabilities at these sizes, each also mirrored, and reported apart. A record that is
        there is not measured again when they change.
    step, change: of the ladder to the best run (`suite_ladder`): its number, and what changed
        against the step it builds on. The record has both under `recipe`.
    crf: val and test are measured once more with a dense CRF, whose parameters are searched on
        val, and reported apart. Again, a record that is there is not measured for it.
    of, seconds: name of another entry, which this one repeats with as many steps as fit into so
        many seconds of training (`suite_budget`). The record has both under `budget`.
    """

    name: str
    flags: str
    start: str = ""
    views: tuple[float, ...] = ()
    step: int = 0
    change: str = ""
    crf: bool = False
    of: str = ""
    seconds: float = 0.0


def equal_seconds(entries: Sequence[Entry], seconds: float) -> tuple[Entry, ...]:
    """Each entry once more as NAME-seconds, without views and CRF.

    One that starts from another starts from the other's run with as many seconds.
    """
    return tuple(
        replace(
            entry,
            name=f"{entry.name}-seconds",
            start=f"{entry.start}-seconds" if entry.start else "",
            views=(),
            crf=False,
            of=entry.name,
            seconds=seconds,
        )
        for entry in entries
    )


# 5,500 steps of 8 images are 120 epochs of 367. val is measured every 24 epochs, not more often:
# where it improves a checkpoint is written, and VGG16's has 2 GB. compile stays off: a network is
# compiled anew in every run and after every resume, and these runs are a few minutes long.
CAMVID = (
    "--data camvid --height 360 --width 480 --batch 8 --steps 5500 --eval-every 1100 "
    "--checkpoint-every 1100 --optimizer adamw --weight-decay 0.01 --schedule poly --warmup 200 "
    "--class-weights median --clip 1 --ema 0.99 --precision bf16 --channels-last "
)

# The crop has the image's size: what rescaling makes smaller is filled up with void.
WHOLE_IMAGES = CAMVID + "--crop 360 480 --scale 0.5 2 --flip 0.5 --jitter 0.3 "

# 24 slices of 512x512 to learn from, a quarter of each shown 1,000 times. No split is called test:
# the six slices of val choose the checkpoint and are reported. Records hold the IoU of the membrane
# and, under "objects", the adapted Rand error.
ISBI = (
    "--data isbi --model unet --lr 0.001 --batch 8 --crop 256 256 --scale 0.8 1.25 --flip 0.5 "
    "--jitter 0.3 --steps 3000 --eval-every 500 --checkpoint-every 1000 --optimizer adamw "
    "--weight-decay 0.01 --schedule poly --warmup 200 --class-weights median --clip 1 --ema 0.99 "
    "--precision bf16 --channels-last "
)

# Test-time sizes of the runs that are also measured with several views.
VIEWS = (0.75, 1.0, 1.25)


def ladder(found: Sequence[Rung]) -> tuple[Entry, ...]:
    """One change a step; the best run is the last, and is also measured with several views."""
    return tuple(
        Entry(r.name, r.flags, views=VIEWS * (r is found[-1]), step=r.step, change=r.change)
        for r in found
    )


LADDER = ladder(rungs())
SMALL_LADDER = ladder(small_rungs())

# VGG16 and AlexNet have no batch norm, and are given a lower learning rate.
RUNS = (
    # A step shows 1,024 windows of 31x31 pixels, about as many pixels as 6 images.
    Entry("patch", CAMVID + "--model patch --batch 1024 --lr 0.003", crf=True),
    Entry("fcn8s-vgg16", WHOLE_IMAGES + "--model fcn8s-vgg16 --lr 0.0001", crf=True),
    Entry("fcn32s-vgg16", WHOLE_IMAGES + "--model fcn32s-vgg16 --lr 0.0001", crf=True),
    Entry("fcn16s-vgg16", WHOLE_IMAGES + "--model fcn16s-vgg16 --lr 0.0001", crf=True),
    Entry("fcn8s-light", WHOLE_IMAGES + "--model fcn8s-light --lr 0.003", crf=True),
    Entry("full-resolution", WHOLE_IMAGES + "--model full-resolution --lr 0.003", crf=True),
    Entry("unet", WHOLE_IMAGES + "--model unet --lr 0.001", crf=True),
    Entry("unet-light", WHOLE_IMAGES + "--model unet-light --lr 0.003", crf=True),
    Entry("deconvnet", WHOLE_IMAGES + "--model deconvnet --lr 0.001", crf=True),
    Entry("segnet", WHOLE_IMAGES + "--model segnet --lr 0.001", crf=True),
    Entry("dilated-vgg16", WHOLE_IMAGES + "--model dilated-vgg16 --lr 0.0001", crf=True),
    # The paper's order: the front end alone, then the context module behind it, which starts as the
    # identity. 120 epochs more, so its gain over the front end is not of the module alone.
    Entry(
        "dilated-context-vgg16",
        WHOLE_IMAGES + "--model dilated-context-vgg16 --lr 0.0001",
        start="dilated-vgg16",
        crf=True,
    ),
    # DeepLab v2: one rate, then four narrow and four wide ones; and v3.
    Entry("largefov-vgg16", WHOLE_IMAGES + "--model largefov-vgg16 --lr 0.0001", crf=True),
    Entry("aspp-l-vgg16", WHOLE_IMAGES + "--model aspp-l-vgg16 --lr 0.0001", views=VIEWS, crf=True),
    Entry("aspp-s-vgg16", WHOLE_IMAGES + "--model aspp-s-vgg16 --lr 0.0001", crf=True),
    Entry(
        "deeplab-v3-resnet50",
        WHOLE_IMAGES + "--model deeplab-v3-resnet50 --lr 0.001",
        views=VIEWS,
        crf=True,
    ),
    *LADDER,
    Entry("fcn-googlenet", WHOLE_IMAGES + "--model fcn-googlenet --lr 0.001", crf=True),
    Entry("fcn-alexnet", WHOLE_IMAGES + "--model fcn-alexnet --lr 0.0001", crf=True),
    Entry("fcn32s-light", WHOLE_IMAGES + "--model fcn32s-light --lr 0.003", crf=True),
    Entry("fcn16s-light", WHOLE_IMAGES + "--model fcn16s-light --lr 0.003", crf=True),
    Entry("dilated-light", WHOLE_IMAGES + "--model dilated-light --lr 0.003", crf=True),
    Entry(
        "dilated-context-light",
        WHOLE_IMAGES + "--model dilated-context-light --lr 0.003",
        start="dilated-light",
        crf=True,
    ),
    Entry("largefov-light", WHOLE_IMAGES + "--model largefov-light --lr 0.003", crf=True),
    Entry("aspp-s-light", WHOLE_IMAGES + "--model aspp-s-light --lr 0.003", crf=True),
    Entry("aspp-l-light", WHOLE_IMAGES + "--model aspp-l-light --lr 0.003", crf=True),
    Entry(
        "deeplab-v3-light",
        WHOLE_IMAGES + "--model deeplab-v3-light --lr 0.003",
        views=VIEWS,
        crf=True,
    ),
    # As the paper trained them: one skip at a time, from the weights of the network before. Each
    # stage is 120 epochs more, so these do not compare with the others by budget.
    Entry(
        "fcn16s-vgg16-staged",
        WHOLE_IMAGES + "--model fcn16s-vgg16 --lr 0.0001",
        start="fcn32s-vgg16",
        crf=True,
    ),
    Entry(
        "fcn8s-vgg16-staged",
        WHOLE_IMAGES + "--model fcn8s-vgg16 --lr 0.0001",
        start="fcn16s-vgg16-staged",
        crf=True,
    ),
    Entry("unet-isbi", ISBI + "--elastic 10 --border-weight 10"),
    Entry("unet-isbi-no-border", ISBI + "--elastic 10"),
    Entry("unet-isbi-no-elastic", ISBI + "--border-weight 10"),
)

# The same protocol for a CPU, at 120x160: the light networks, 16 epochs (736 steps of 8 images), in
# fp32. About 45 minutes of one core for a seed; full-resolution, which shrinks nothing in any
# layer, is a quarter of them.
CAMVID_SMALL = (
    "--data camvid --height 120 --width 160 --batch 8 --steps 736 --eval-every 184 "
    "--checkpoint-every 184 --optimizer adamw --weight-decay 0.01 --schedule poly --warmup 50 "
    "--class-weights median --clip 1 --ema 0.99 --channels-last "
)
WHOLE_SMALL = CAMVID_SMALL + "--crop 120 160 --scale 0.5 2 --flip 0.5 --jitter 0.3 --lr 0.003 "

# ISBI-EM for a CPU: slices at their full size, small crops of them, and no more than 300 steps.
ISBI_SMALL = (
    "--data isbi --model unet-light --lr 0.003 --batch 4 --crop 160 160 --scale 0.8 1.25 "
    "--flip 0.5 --jitter 0.3 --elastic 10 --steps 300 --eval-every 75 --checkpoint-every 75 "
    "--optimizer adamw --weight-decay 0.01 --schedule poly --warmup 40 --class-weights median "
    "--clip 1 --ema 0.99 --channels-last "
)

SMALL = (
    # 160 windows of 31x31 are as many pixels as 8 images.
    Entry("patch", CAMVID_SMALL + "--model patch --batch 160 --lr 0.003", crf=True),
    Entry("fcn32s-light", WHOLE_SMALL + "--model fcn32s-light", crf=True),
    Entry("fcn16s-light", WHOLE_SMALL + "--model fcn16s-light", crf=True),
    Entry("fcn8s-light", WHOLE_SMALL + "--model fcn8s-light", crf=True),
    Entry("largefov-light", WHOLE_SMALL + "--model largefov-light", crf=True),
    Entry("aspp-s-light", WHOLE_SMALL + "--model aspp-s-light", crf=True),
    Entry("aspp-l-light", WHOLE_SMALL + "--model aspp-l-light", crf=True),
    Entry("dilated-light", WHOLE_SMALL + "--model dilated-light", crf=True),
    Entry(
        "dilated-context-light",
        WHOLE_SMALL + "--model dilated-context-light",
        start="dilated-light",
        crf=True,
    ),
    Entry("segnet-light", WHOLE_SMALL + "--model segnet-light", crf=True),
    Entry("deconvnet-light", WHOLE_SMALL + "--model deconvnet-light", crf=True),
    Entry("deeplab-v3-light", WHOLE_SMALL + "--model deeplab-v3-light", views=VIEWS, crf=True),
    Entry("unet-light", WHOLE_SMALL + "--model unet-light", crf=True),
    Entry("full-resolution", WHOLE_SMALL + "--model full-resolution", crf=True),
    Entry("unet-isbi-light", ISBI_SMALL + "--border-weight 10"),
    Entry("unet-isbi-light-no-border", ISBI_SMALL),
    *SMALL_LADDER,
)

# Every network of the list under equal seconds, after all seeds of all others. Two minutes are
# about what the plan (--dry-run) guesses for 120 epochs in the middle of the list: change them by
# what the records say, before the first of these runs. The ladder and the staged networks are left
# out, since they compare with nothing by their budget.
SECONDS = 120.0
RUNS += equal_seconds(
    [
        entry
        for entry in RUNS
        if "--data camvid" in entry.flags
        and not entry.change
        and not entry.name.endswith("-staged")
    ],
    SECONDS,
)

# On a CPU, for a few networks: 90 seconds are about the median of the small list at equal epochs.
SECONDS_SMALL = 90.0
A_FEW = ("fcn8s-light", "aspp-s-light", "segnet-light", "deeplab-v3-light", "unet-light")
SMALL += equal_seconds([entry for entry in SMALL if entry.name in A_FEW], SECONDS_SMALL)

# Minutes of one CPU core, on generated scenes: the suite itself is proven with these.
SCENES = (
    "--data scenes --height 32 --width 32 --batch 4 --steps 40 --eval-every 20 "
    "--checkpoint-every 10 --lr 0.01 --crop 32 32 --scale 0.7 1.4 "
)

TOYS = (
    Entry("toy", SCENES + "--model full-resolution --ema 0.9"),
    Entry("toy-longer", SCENES + "--model full-resolution --steps 20", start="toy", crf=True),
    Entry("toy-views", SCENES + "--model aspp-s-light --steps 20", views=(1.0, 1.25)),
)
TOYS += equal_seconds(TOYS[:1], 2.0)
