"""Executors hand out every result once, try again what broke, and give up what stays broken."""

import importlib
import os
import time
from contextlib import closing
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from datagen.executor.executor import Executor, Failure
from datagen.executor.processes import Processes
from datagen.executor.serial import Serial

JOBS = '''
import os, signal, time
from pathlib import Path

class Odd(Exception):
    """Cannot be rebuilt from its arguments, so it cannot travel between processes."""
    def __init__(self, a, b):
        super().__init__(f"{a} {b}")

def work(task):
    kind, value = task
    if kind == "square":
        return value**2
    if kind == "pid":
        return os.getpid()
    if kind == "wrong":
        raise ValueError(f"value: got {value}, wanted another")
    if kind == "odd":
        raise Odd(value, value)
    if kind == "sleep":
        Path(value).touch()
        time.sleep(60)
    attempts = Path(value)  # a task that is killed or breaks until its third attempt
    attempts.write_text(attempts.read_text() + "x" if attempts.exists() else "x")
    if kind == "die" or (kind == "die twice" and len(attempts.read_text()) < 3):
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "break twice" and len(attempts.read_text()) < 3:
        raise OSError("disk is busy")
    return "done"
'''


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A task function in a module that spawned workers can import."""
    (tmp_path / "executor_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("executor_jobs").work


@pytest.fixture(params=[lambda: Serial(), lambda: Processes(workers=2)], ids=["serial", "processes"])
def executor(request):
    return request.param()


def test_every_result_comes_once(executor, work):
    assert sorted(executor.run(work, [("square", k) for k in range(7)])) == [(k, k**2) for k in range(7)]
    assert list(executor.run(work, [])) == []


def test_a_task_that_breaks_is_tried_again(executor, work, tmp_path):
    results = dict(executor.run(work, [("square", 3), ("break twice", str(tmp_path / "count"))]))
    assert results == {0: 9, 1: "done"}
    assert (tmp_path / "count").read_text() == "xxx"


def test_a_task_that_stays_broken_is_given_up_and_the_others_go_on(work, tmp_path):
    results = dict(Serial(retries=1).run(work, [("break twice", str(tmp_path / "count")), ("square", 2)]))
    assert isinstance(results[0], Failure)
    assert str(results[0]) == "given up after 2 attempts: disk is busy"
    assert not results[0].wrong_input
    assert results[1] == 4


def test_wrong_input_is_not_tried_again_and_keeps_its_words(executor, work):
    failure = dict(executor.run(work, [("wrong", 5)]))[0]
    assert failure.wrong_input
    assert failure.attempts == 1
    assert isinstance(failure.error, ValueError)
    assert str(failure.error) == "value: got 5, wanted another"


def test_an_error_that_cannot_travel_comes_as_words(executor, work):
    failure = dict(executor.run(work, [("odd", 1)]))[0]
    assert str(failure) == "given up after 3 attempts: Odd: 1 1"


def test_a_killed_worker_is_replaced_and_only_its_task_runs_again(work, tmp_path):
    tasks = [
        ("die twice", str(tmp_path / "twice")),
        ("die", str(tmp_path / "always")),
        *[("square", k) for k in range(5)],
    ]
    results = dict(Processes(workers=2).run(work, tasks))
    assert results[0] == "done"
    assert str(results[1]) == "given up after 3 attempts: its worker process died (signal 9)"
    assert (tmp_path / "always").read_text() == "xxx"
    assert [results[k] for k in range(2, 7)] == [0, 1, 4, 9, 16]


def test_workers_are_processes_of_their_own(work):
    pids = {pid for _, pid in Processes(workers=2).run(work, [("pid", None)] * 8)}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2


def test_closing_the_results_ends_the_workers_at_once(work, tmp_path):
    began = time.monotonic()
    started = tmp_path / "started"
    with closing(Processes(workers=2).run(work, [("square", 1), ("sleep", str(started))])) as results:
        assert next(results) == (0, 1)
        while not started.exists() and time.monotonic() - began < 30:
            time.sleep(0.01)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Serial(threads=0), "threads: got 0"),
        (lambda: Serial(retries=-1), "retries: got -1"),
        (lambda: Processes(workers=0), "workers: got 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "executor"


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configured_executor_keeps_the_contract(config, work):
    executor = instantiate(OmegaConf.load(config))
    assert isinstance(executor, Executor)
    assert executor.retries == 2
    assert sorted(executor.run(work, [("square", 2)])) == [(0, 4)]
