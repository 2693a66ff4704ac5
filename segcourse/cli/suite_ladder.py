"""The ladder to the best run: one change at a time, each measured on val, each with a record.

Every step trains with the flags of BASE, of all kept steps before it, and its own. Records hold the
step's number and its change in words under `recipe`. What to do with the numbers:

- A step is kept where its val mIoU is above that of the step it stands on, in the mean over the
  seeds that both have; test decides nothing. The suite prints the differences below its table.
- A step that does not help gets `kept=False`. It stays in the list, so its record stays, and the
  steps after it no longer build on it: the suite puts their records aside and makes them again.
- Two steps of which one needs the other are judged as one change, over the step below both: the
  first gets `with_next=True`.
- A new step goes right before the last one, which only trains longer: so no other changes its
  number.

val is of the drive that most training images come from, and differences below what two seeds differ
by say nothing: give a step in doubt more seeds. Until a step has its number, `kept` is a guess: so
it is in STEPS, which wait for a GPU.

SMALL_STEPS, the same ladder at 120x160 on a CPU, were decided by the mean over three seeds of their
records under results/suite_small/; a test holds `kept` to it. A small ladder says how to climb one,
and not which steps will be kept at full size, where training is long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

# 2,750 steps of 16 images are 120 epochs of 367, as in the other runs; 16 fill a GPU better than 8.
BASE = (
    "--data camvid --height 360 --width 480 --batch 16 --steps 2750 --eval-every 250 "
    "--checkpoint-every 500 --optimizer adamw --lr 0.001 --weight-decay 0.01 --warmup 200 --clip 1 "
    "--precision bf16 --channels-last "
)


@dataclass(frozen=True)
class Step:
    """One change.

    name: of the entry, after its number. flags: of `segcourse train`, over those before.
    change: the same in words. kept: whether later steps build on it. with_next: whether it is
    judged with the step after it, as one change.
    """

    name: str
    flags: str
    change: str
    kept: bool = True
    with_next: bool = False


@dataclass(frozen=True)
class Rung:
    """A step with everything that it builds on: an entry of the suite's list.

    on: name of the rung that it changes, "" for the first. short: the step's name.
    """

    name: str
    short: str
    flags: str
    step: int
    change: str
    on: str
    kept: bool
    with_next: bool


STEPS = (
    Step(
        "plain",
        "--model unet-narrow --schedule constant --flip 0.5",
        "U-Net, 32 channels wide, on whole images, half of them mirrored; constant learning rate",
    ),
    Step(
        "scale-crop",
        "--scale 0.6 1.8 --crop 288 384",
        "images at 0.6 to 1.8 times their size, and a crop of 288x384 pixels",
    ),
    Step("colour", "--jitter 0.4", "brightness, contrast and saturation vary by up to 40 %"),
    Step(
        "copy-paste",
        "--copy-paste 0.5",
        "rare classes of another image are laid into half of the images",
    ),
    Step(
        "weights",
        "--class-weights median-root",
        "classes weigh by the root of their median frequency",
    ),
    Step("poly", "--schedule poly", "the learning rate falls to 0 as a polynomial"),
    Step("ema", "--ema 0.998", "the running average of the weights is evaluated"),
    Step(
        "architecture",
        "--model unet-aspp",
        "residual blocks, ASPP at the bottom, half the resolution; 32 channels wide as before",
    ),
    Step("width", "--model unet-aspp-wide", "64 channels wide"),
    # Group norm is slower on a GPU, in runs that are long already: kept only once it has won.
    Step(
        "group-norm",
        "--model unet-aspp-wide-group",
        "group norm in the place of batch norm",
        kept=False,
    ),
    Step(
        "long",
        "--steps 23000 --eval-every 1000 --checkpoint-every 1000",
        "1,000 epochs in place of 120",
    ),
)


# The same ladder for one core of a CPU, at 120x160. Networks have a quarter of the channels; 480
# steps of 8 images are 10 epochs: a step of the ladder takes one or two minutes.
SMALL_BASE = (
    "--data camvid --height 120 --width 160 --batch 8 --steps 480 --eval-every 80 "
    "--checkpoint-every 80 --optimizer adamw --lr 0.003 --weight-decay 0.01 --warmup 50 --clip 1 "
    "--channels-last "
)

SMALL_STEPS = (
    Step(
        "plain",
        "--model unet-tiny --schedule constant --flip 0.5",
        "U-Net, 8 channels wide, on whole images, half of them mirrored; constant learning rate",
    ),
    Step(
        "scale-crop",
        "--scale 0.6 1.8 --crop 96 128",
        "images at 0.6 to 1.8 times their size, and a crop of 96x128 pixels",
        kept=False,
    ),
    Step(
        "colour",
        "--jitter 0.4",
        "brightness, contrast and saturation vary by up to 40 %",
        kept=False,
    ),
    Step(
        "copy-paste",
        "--copy-paste 0.5",
        "rare classes of another image are laid into half of the images",
        kept=False,
    ),
    Step(
        "weights",
        "--class-weights median-root",
        "classes weigh by the root of their median frequency",
    ),
    Step("poly", "--schedule poly", "the learning rate falls to 0 as a polynomial", kept=False),
    Step("ema", "--ema 0.99", "the running average of the weights is evaluated"),
    Step(
        "architecture",
        "--model unet-aspp-tiny",
        "residual blocks, ASPP at the bottom, half the resolution; 8 channels wide as before",
        with_next=True,
    ),
    Step("width", "--model unet-aspp-light", "16 channels wide"),
    Step(
        "group-norm",
        "--model unet-aspp-light-group",
        "group norm in the place of batch norm",
        kept=False,
    ),
    Step(
        "long",
        "--steps 1920 --eval-every 320 --checkpoint-every 320",
        "42 epochs in place of 10",
    ),
)


def rungs(steps: Sequence[Step] = STEPS, base: str = BASE, best: str = "best") -> list[Rung]:
    """The entries: best-0-plain, best-1-..., and `best`, which is the last step.

    Args:
        steps: in order; the first is what the others change.
        base: flags that all share.
        best: what the names begin with.
    """
    found, flags, on = [], base.split(), ""
    for number, step in enumerate(steps):
        name = f"{best}-{number}-{step.name}" if number < len(steps) - 1 else best
        own = [*flags, *step.flags.split()]
        judged = (step.kept, step.with_next)
        found.append(Rung(name, step.name, " ".join(own), number, step.change, on, *judged))
        flags, on = (own, name) if step.kept else (flags, on)
    return found


def small_rungs() -> list[Rung]:
    """The entries of the small ladder: best-small-0-plain and so on, and `best-small`."""
    return rungs(SMALL_STEPS, SMALL_BASE, "best-small")


def gains(val: Mapping[str, Mapping[int, float]], ladder: Sequence[Rung]) -> list[str]:
    """What every measured step gained on val, in a line each: what `kept` is decided by.

    Args:
        val: names of entries to the mean IoU on val by seed.
        ladder: of `rungs`; of several ladders, one after the other.
    """
    lines = []
    for rung in ladder:
        seeds = sorted(val.get(rung.name, {}).keys() & val.get(rung.on, {}).keys())
        if seeds:
            gained = [val[rung.name][seed] - val[rung.on][seed] for seed in seeds]
            kept = "kept" if rung.kept else "not kept"
            over = f" ({min(gained):+.4f} to {max(gained):+.4f}, {len(seeds)} seeds)"
            lines.append(
                f"{rung.name}: val mIoU {mean(gained):+.4f} over {rung.on}"
                f"{over if len(seeds) > 1 else ''}, {kept}"
            )
    return lines
