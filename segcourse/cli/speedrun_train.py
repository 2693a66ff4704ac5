"""The training of a speedrun: in stages of two sizes, ended by val alone, then test once."""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from segcourse import cost, losses, metrics, training
from segcourse.cli import running
from segcourse.cli.models import build, trains_on_patches
from segcourse.cli.sources import open_split
from segcourse.cli.stopwatch import Stopwatch
from segcourse.config import Config
from segcourse.data.batches import ResidentBatches
from segcourse.data.resident import ResidentSet, evaluation_batches
from segcourse.data.staged import StagedBatches, halved
from segcourse.errors import UsageError
from segcourse.labels import Classes
from segcourse.records import plain

EVALUATED_AT_ONCE = 32


@dataclass(frozen=True)
class Race:
    """What a speedrun is about: see the options of `segcourse bench speedrun`."""

    target: float
    margin: float
    half: float
    checks: int
    limit: float
    threads: int
    benchmark: bool


@dataclass(frozen=True)
class Found:
    """What a speedrun came to.

    reached: whether test had the target. ended_by_val: whether val ended training, and not its
    last step or the limit. checks: one dict a check: `step`, `seconds` since the start at its end,
    and `val_miou`. val, test: (K, K) matrices of the network at the end. history: of
    `training.fit`.
    """

    reached: bool
    ended_by_val: bool
    checks: list[dict]
    val: Tensor
    test: Tensor
    history: training.History
    classes: Classes
    parameters: int


class Run:
    """One speedrun.

    Args:
        config: of the training.
        race: what it is about.
        device: where.
        watch: counts since the start of the process.
    """

    def __init__(self, config: Config, race: Race, device: torch.device, watch: Stopwatch):
        self.config, self.race, self.device, self.watch = config, race, device, watch
        self.checks: list[dict] = []
        self.high_enough = False

    def go(self) -> Found:
        """Read, build, train until val is high enough, the end or the limit, and measure test once.

        Raises:
            UsageError: a recipe for the patch model; and as training and its data.
        """
        config, watch = self.config, self.watch
        with watch.part("device"):
            torch.zeros(1, device=self.device)
        with watch.part("data"):
            train, self.val, self.test = map(self._read, ("train", "val", "test"))
        self.K = len(train.classes)
        with watch.part("build"):
            model = build(config.model, self.K, config.seed)
            if trains_on_patches(model):
                raise UsageError("a speedrun trains on whole images: give another model than patch")
            pixels = losses.label_counts(train.labels, self.K)
            loss = running.loss_of(config, running.class_weights(config, pixels))
            batches = self._stages(train, pixels)
        with _benchmark(self.race.benchmark):
            if config.compile:
                with watch.part("compile"):
                    self._compile(model, batches, loss)
            plan = replace(config, eval_every=self.every, checkpoint_every=0, compile=False)
            with watch.part("train"):
                history = training.fit(
                    plan,
                    model,
                    batches,
                    None,
                    loss=loss,
                    evaluate=self._check,
                    stop=lambda: self.high_enough or self.watch.total() > self.race.limit,
                )
        if not self.checks or self.checks[-1]["step"] != history.steps:
            self._check(model, history.steps)  # the limit came between two checks
        # Here and nowhere else: a run that ended where test was high would be chosen on test.
        test = self._measure(model, self.test)
        return Found(
            (plain(metrics.mean_iou(test)) or 0.0) >= self.race.target,
            self.high_enough,
            self.checks,
            self.matrix,
            test,
            history,
            train.classes,
            cost.parameters(model),
        )

    @property
    def every(self) -> int:
        """Steps from one check to the next."""
        return -(-self.config.steps // self.race.checks)

    def _read(self, split: str) -> ResidentSet:
        c = self.config
        size = (c.height, c.width) if c.height else None
        data = open_split(c.data, c.root, split, size)
        return ResidentSet.load(data, self.device, self.race.threads)

    def _stages(self, train: ResidentSet, pixels: Tensor) -> training.Batches:
        """Half the size up to the step where `half` of them are done, then whole."""
        c, first = self.config, round(self.race.half * self.config.steps)
        half = replace(c, crop=tuple(n // 2 for n in c.crop), elastic=c.elastic / 2)
        stages = []
        for start, stop, config, shrink in ((0, first, half, True), (first, c.steps, c, False)):
            if start < stop:
                images = halved(train) if shrink else train
                view = running.augmentation(config)
                plain = ResidentBatches(images, c.batch, view, c.seed)
                stages.append((start, running.augmented_further(config, plain, pixels)))
        return StagedBatches(stages)

    def _compile(
        self,
        model: nn.Module,
        batches: StagedBatches,
        loss: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """Compile forward and backward for each stage's size; weights and averages stay."""
        c = self.config
        layout = torch.channels_last if c.channels_last else torch.preserve_format
        model.to(self.device, memory_format=layout).train()
        model.compile(dynamic=False)
        before = {name: value.clone() for name, value in model.named_buffers()}
        gpus = [self.device.index or 0] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            for first, stage in batches.stages:
                images, labels = stage.batch(first)
                images = images.to(memory_format=layout)
                with torch.autocast(
                    self.device.type, torch.bfloat16, enabled=c.precision == "bf16"
                ):
                    logits = model(images)
                value = loss(logits.float(), labels)
                value.backward()
                value.item()  # waits for the device
        model.zero_grad()
        for name, value in model.named_buffers():
            value.copy_(before[name])

    def _check(self, model: nn.Module, step: int | None = None) -> Tensor:
        """Measure val, which alone decides whether training ends; the network's matrix on val."""
        step = step or min((len(self.checks) + 1) * self.every, self.config.steps)
        self.matrix = self._measure(model, self.val)
        miou = plain(metrics.mean_iou(self.matrix))
        self.checks.append({"step": step, "seconds": self.watch.total(), "val_miou": miou})
        self.high_enough = (miou or 0.0) >= self.race.target + self.race.margin
        return self.matrix

    def _measure(self, model: nn.Module, split: ResidentSet) -> Tensor:
        batches = functools.partial(evaluation_batches, split, EVALUATED_AT_ONCE)
        # Few batches, and of other sizes: looking for the fastest kernels would not pay, nor would
        # compiling, and a copy of a compiled network is not compiled.
        model = copy.deepcopy(model) if self.config.compile else model
        with self.watch.part("eval"), _benchmark(False):
            return training.evaluate(model, batches, self.K, self.config.precision).cpu()


@contextmanager
def _benchmark(on: bool) -> Iterator[None]:
    """Whether cuDNN tries its kernels out on each new size, and keeps the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
