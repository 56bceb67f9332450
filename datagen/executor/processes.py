"""Several tasks at a time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from datagen.executor.executor import Executor, Failure, attempt


class Processes(Executor):
    """Runs tasks in worker processes. See `Executor`.

    Workers are spawned, not forked, so that they start clean of this process's threads and CUDA context; a script
    that uses them keeps its own work under ``if __name__ == "__main__"``. A worker that dies (killed, out of memory) is
    replaced and its task, which is known exactly, runs again. Each worker talks through a pipe of its own: when this
    process is killed the pipes close and the workers end with the task they are at.

    Args:
        workers: number of processes; None for one per core divided by ``threads``.
        threads: torch threads of one task; None for 1.
        retries: how often a task is run again before it is given up.
    """

    def __init__(self, workers: int | None = None, threads: int | None = 1, retries: int = 2) -> None:
        super().__init__(1 if threads is None else threads, retries)
        if workers is not None and workers < 1:
            raise ValueError(f"workers: got {workers}, wanted an integer >= 1 or null")
        self.workers = workers or max(1, (os.cpu_count() or 1) // (self.threads or 1))

    def run(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Generator[tuple[int, Any], None, None]:
        """See `Executor.run`."""
        # Plain pickle: the one of torch.multiprocessing shares tensors by file descriptors, which a lost worker leaks.
        payload = pickle.dumps(work)
        waiting = deque((index, 1) for index in range(len(tasks)))  # (task, number of this attempt)
        busy: dict[Connection, _Worker] = {}
        idle: list[_Worker] = []
        try:
            while len(idle) < min(self.workers, len(tasks)):  # all at once, so that their imports overlap
                idle.append(_Worker(payload))
            while waiting or busy:
                while waiting and len(busy) < self.workers:
                    worker = idle.pop() if idle else _Worker(payload)
                    worker.index, worker.attempts = waiting.popleft()
                    worker.give(tasks[worker.index])
                    busy[worker.pipe] = worker
                ready = wait(list(busy))
                for pipe in [pipe for pipe in busy if pipe in ready]:
                    worker = busy.pop(pipe)
                    result = worker.result()
                    if worker.alive:
                        idle.append(worker)
                    failed = isinstance(result, Failure) and not result.wrong_input
                    if failed and worker.attempts <= self.retries:
                        waiting.appendleft((worker.index, worker.attempts + 1))
                    else:
                        yield worker.index, result
        finally:
            for worker in [*busy.values(), *idle]:
                worker.end()


class _Worker:
    """A spawned process, the pipe to it, and the task it is at."""

    def __init__(self, payload: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self.payload: bytes | None = payload
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self.alive = True
        self.index, self.attempts = -1, 0

    def give(self, task: Any) -> None:
        """Send a task, the first with the work; a worker that is gone already is noticed when its result is read."""
        try:
            if self.payload is not None:
                self.pipe.send_bytes(self.payload)
                self.payload = None
            self.pipe.send_bytes(pickle.dumps((task, self.attempts)))
        except OSError:
            self.alive = False

    def result(self) -> Any:
        """Read the result; a worker that died without one gives a `Failure` with its exit code."""
        try:
            return pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            self.end()
            code = self.process.exitcode
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            return Failure(RuntimeError(f"its worker process died ({how})"), self.attempts)

    def end(self) -> None:
        """End the process, whatever it is at."""
        self.alive = False
        self.pipe.close()
        # A dead worker keeps its own exit code; terminate() does nothing to it.
        self.process.join(0.2)
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(pipe: Connection) -> None:
    """Life of a worker: tasks in, results out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    try:
        work = attempt(pickle.loads, pipe.recv_bytes(), 1)
        while True:
            task, attempts = pickle.loads(pipe.recv_bytes())
            result = work if isinstance(work, Failure) else attempt(work, task, attempts)
            pipe.send_bytes(pickle.dumps(result))
    except (EOFError, OSError):  # the parent is gone
        return
