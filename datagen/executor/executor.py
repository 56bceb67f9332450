"""The contract of executors: run a list of idempotent tasks and hand out results as they finish."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

WRONG_INPUT = (ValueError, TypeError, FileNotFoundError)
"""Errors that say that the input was wrong: a task that raises one is not tried again."""


@dataclass(frozen=True)
class Failure:
    """A task that was given up: the error of its last attempt, and how many there were."""

    error: Exception
    attempts: int

    def __str__(self) -> str:
        return f"given up after {self.attempts} attempt{'s'[: self.attempts > 1]}: {self.error}"

    @property
    def wrong_input(self) -> bool:
        """Whether the error says that the input was wrong."""
        return isinstance(self.error, WRONG_INPUT)


class Executor:
    """Runs tasks somewhere: here, in other processes, on other machines.

    A task must be idempotent, for it runs again after a failure or a lost worker; then it must be free to overwrite
    what its first attempt left. Work, tasks and results are picklable.

    Args:
        threads: torch threads of one task; None keeps what torch is set to. Whoever writes a task sets them, because
            the number belongs to the result: sums differ in their last bits between thread counts.
        retries: how often a task is run again before it is given up.
    """

    def __init__(self, threads: int | None = None, retries: int = 2) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads: got {threads}, wanted an integer >= 1 or null")
        if retries < 0:
            raise ValueError(f"retries: got {retries}, wanted an integer >= 0")
        self.threads, self.retries = threads, retries

    def run(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Generator[tuple[int, Any], None, None]:
        """Do ``work(task)`` for every task.

        Closing the iterator, or Ctrl-C inside it, ends the tasks that are under way; what was handed out is finished.

        Args:
            work: what to do with a task; sent to each worker once.
            tasks: arguments of ``work``.

        Yields:
            (index of the task, its result or a `Failure`), in the order in which they finish.
        """
        raise NotImplementedError(f"{type(self).__name__} has no run")


def attempt(work: Callable[[Any], Any], task: Any, attempts: int) -> Any:
    """The result of ``work(task)``, or a `Failure` that can be sent between processes, this attempt included."""
    try:
        return work(task)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return Failure(error, attempts)
