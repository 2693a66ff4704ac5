"""How far a run is: a bar on a terminal, and a plain line now and then everywhere else.

A bar redraws itself many times a second. In a log file each redrawing stays, so a run of hours
leaves megabytes of them: where standard error is no terminal, whole lines are written instead.
"""

import os
import sys
from time import perf_counter

from tqdm import tqdm

LINE_EVERY = 30.0
"""Seconds between two plain lines; an evaluation and the last step get theirs at once."""

SHOWN = (("loss", "loss", ".3f"), ("miou", "miou", ".3f"), ("images_per_second", "images/s", ".1f"))
"""What is told of the log's lines: key there, name here, number format."""


class Progress:
    """Tells on standard error how far a run is; the environment's TQDM_DISABLE=1 silences it.

    Args:
        steps: of the whole run.
        first: steps taken before.
        shown: False says nothing, as in all processes but the first.
        line_every: seconds between plain lines.
    """

    def __init__(self, steps: int, first: int, shown: bool, line_every: float = LINE_EVERY):
        self.steps, self.first, self.line_every = steps, first, line_every
        self._begun = self._last = perf_counter()
        self._bar = None
        self._plain = shown and not sys.stderr.isatty() and not _silenced()
        if shown and sys.stderr.isatty():
            # Only an argument that is left out obeys TQDM_DISABLE.
            self._bar = tqdm(total=steps, initial=first, unit="step", dynamic_ncols=True)

    def step(self) -> None:
        """Count one step."""
        if self._bar is not None:
            self._bar.update()

    def show(self, done: int, lines: list[dict], evaluated: bool) -> None:
        """Tell the last numbers of a log.

        Args:
            done: steps taken in all.
            lines: of the log so far.
            evaluated: whether this step was evaluated, which is told at once.
        """
        numbers = latest(lines)
        if self._bar is not None:
            self._bar.set_postfix(numbers, refresh=False)
        now = perf_counter()
        due = evaluated or done == self.steps or now - self._last >= self.line_every
        if not (self._plain and due):
            return
        self._last = now
        left = (now - self._begun) / (done - self.first) * (self.steps - done)
        told = "  ".join(f"{name} {number}" for name, number in numbers.items())
        rest = f"  about {clock(left)} left" if done < self.steps else ""
        print(f"step {done}/{self.steps}  {told}{rest}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()


def latest(lines: list[dict]) -> dict[str, str]:
    """Loss, mIoU and images/s, each the last that was logged.

    >>> latest([{"step": 5, "loss": 0.75, "images_per_second": 12.0}, {"step": 5, "miou": 0.5}])
    {'loss': '0.750', 'miou': '0.500', 'images/s': '12.0'}
    """
    numbers = {}
    for key, name, form in SHOWN:
        values = [line[key] for line in lines[-50:] if line.get(key) is not None]
        if values:
            numbers[name] = format(values[-1], form)
    return numbers


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(42), clock(3723)
    ('0:00:42', '1:02:03')
    """
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def _silenced() -> bool:
    """Whether the environment asks for silence, as it does of tqdm."""
    return os.environ.get("TQDM_DISABLE", "").lower() not in ("", "0", "false")
