"""One task after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from datagen.executor.executor import Executor, Failure, attempt


class Serial(Executor):
    """Runs tasks here, in their order. See `Executor`.

    >>> list(Serial().run(abs, [-1, 2]))
    [(0, 1), (1, 2)]
    """

    def run(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Generator[tuple[int, Any], None, None]:
        """See `Executor.run`."""
        for index, task in enumerate(tasks):
            for attempts in range(1, self.retries + 2):
                result = attempt(work, task, attempts)
                if not isinstance(result, Failure) or result.wrong_input:
                    break
            yield index, result
