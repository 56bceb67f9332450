"""One view of the progress of every long job: a bar on a terminal, a plain line every few seconds otherwise."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn


class ProgressView:
    """Shows how much is done, how much of it failed, how fast, and how long it will take.

    A context manager. Rate and time left count what was done since it was entered; what an earlier run did is given
    as ``already``.

    Args:
        title: what is going on, in a word or two.
        total: how much there is to do.
        unit: what is counted, plural.
        already: how much is done before it starts.
        failed: how much of that failed.
        show: False for silence.
        stream: where to; standard error by default.
        interval: seconds between plain lines.

    >>> with ProgressView("generate", total=8, unit="paths", stream=sys.stdout) as view:  # doctest: +ELLIPSIS
    ...     view.advance(8, failed=1)
    generate: 0/8 paths
    generate: 8/8 paths, 1 failed, ... paths/s, took 0 s
    """

    def __init__(
        self,
        title: str,
        total: int,
        unit: str = "steps",
        already: int = 0,
        failed: int = 0,
        show: bool = True,
        stream: TextIO | None = None,
        interval: float = 5.0,
    ) -> None:
        self.title, self.total, self.unit, self.already, self.show = title, total, unit, already, show
        self.stream, self.interval = stream or sys.stderr, interval
        self.done, self.failed = already, failed
        self._bar: tuple[Progress, TaskID] | None = None
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._began = self._said = time.monotonic()
        if self.show and self.stream.isatty():
            columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}")
            bar = Progress(*columns, console=Console(file=self.stream))
            self._bar = bar, bar.add_task(self.title, total=self.total, completed=self.done, words=self.words())
            bar.start()
        elif self.show:
            self._say()
        return self

    def advance(self, done: int, failed: int = 0) -> None:
        """Count ``done`` more, ``failed`` of them without a result."""
        self.done += done
        self.failed += failed
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=self.done, words=self.words())
        elif self.show and time.monotonic() - self._said >= self.interval:
            self._say()

    def words(self, ended: bool = False) -> str:
        """The state in words: ``12/40 paths, 1 failed, 3.1 paths/s, 9 s left``."""
        text = f"{self.done}/{self.total} {self.unit}" + (f", {self.failed} failed" if self.failed else "")
        seconds, count = time.monotonic() - self._began, self.done - self.already
        if count == 0:
            return text
        rate = count / max(seconds, 1e-9)
        left = f"took {_duration(seconds)}" if ended else f"{_duration((self.total - self.done) / rate)} left"
        return f"{text}, {rate:.3g} {self.unit}/s, {left}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, words=self.words(ended=True))
            bar.stop()
        elif self.show:
            self._say(ended=True)

    def _say(self, ended: bool = False) -> None:
        self._said = time.monotonic()
        print(f"{self.title}: {self.words(ended)}", file=self.stream, flush=True)


def _duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
