"""When a long command has to stop: its minutes are nearly over, or it was told to by a signal.

Training asks between log lines. The answer has to come early enough for what happens until the
next question, and for the checkpoint that follows a yes: as long as twice the longest time between
two questions so far, and a reserve. Before the first checkpoint its seconds are assumed.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

RESERVE = 15.0
"""Seconds kept for what has not been timed yet, or 3 % of all where that is less."""


class Deadline:
    """Says when to stop.

    Args:
        minutes: from now on; None: only a signal stops.
        clock: seconds that only grow.
    """

    def __init__(self, minutes: float | None, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._started = clock()
        self._seconds = None if minutes is None else 60 * minutes
        self.signal: str | None = None
        self._over = False
        self.begin()

    def begin(self, longest: float = 0.0) -> None:
        """Forget the times between questions: another run, with steps of its own length.

        Args:
            longest: seconds between two questions that are assumed at least.
        """
        self._asked, self._longest = self._clock(), longest

    def left(self) -> float:
        """Seconds that are left; infinite without a limit."""
        if self._seconds is None:
            return float("inf")
        return self._seconds - (self._clock() - self._started)

    def allows(self, seconds: float) -> bool:
        """Whether something that takes so long can be begun and ended in time; a no is final."""
        if self._seconds is not None:
            reserve = min(RESERVE, 0.03 * self._seconds)
            self._over = self._over or self.left() <= seconds + reserve
        return not self._over and self.signal is None

    def stop(self) -> bool:
        """Whether to stop now, since the next question may come too late."""
        now = self._clock()
        self._longest = max(self._longest, now - self._asked)
        self._asked = now
        return not self.allows(2 * self._longest)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Let SIGTERM and the first Ctrl-C stop at the next question; a second Ctrl-C stops now."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt("nothing was saved since the last checkpoint")
        self.signal = signal.Signals(number).name
        print(f"\n{self.signal}: stopping at the next checkpoint", file=sys.stderr, flush=True)
