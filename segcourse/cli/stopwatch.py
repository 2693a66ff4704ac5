"""Wall clock in named parts, from the start of the process."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def process_age() -> float | None:
    """Seconds since this process was started, as the system counts; None where it does not say."""
    try:
        # The name in brackets may hold anything; field 22 of all, in ticks since the system began.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        age = uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return age if age >= 0 else None


class Stopwatch:
    """Says how long each part of a command took.

    Args:
        began: seconds that had passed when it was made, counted as the part "import".
        clock: seconds that only grow.
    """

    def __init__(self, began: float = 0.0, clock: Callable[[], float] = time.perf_counter):
        self._clock, self._started = clock, clock() - began
        self._part, self._since = "other", clock()
        self.parts: dict[str, float] = {"import": began} if began else {}

    def total(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._started

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside as `name`, and not as the part around it."""
        outer = self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def timeline(self) -> dict[str, float]:
        """Seconds of every part so far, in the order in which they began; they sum to the total."""
        self._switch(self._part)
        return dict(self.parts)

    def _switch(self, name: str) -> str:
        now, before = self._clock(), self._part
        self.parts[before] = self.parts.get(before, 0.0) + now - self._since
        self._part, self._since = name, now
        return before
