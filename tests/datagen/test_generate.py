"""Generation can be killed and started again, and the dataset is the same to the last bit."""

import doctest
import importlib
import json
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from datagen.executor.processes import Processes
from datagen.executor.serial import Serial
from datagen.generate import fingerprint, generate
from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from datagen.paths.path import LoadPath
from datagen.paths.proportional import proportional
from datagen.paths.random_walk import random_walk
from datagen.store import MANIFEST, Store

RUBBER = NeoHooke(mu=1.0, lmbda=10.0)
PATHS = [
    proportional("finite", None, 6, 5, 0.2, seed=0),
    LoadPath.along("finite", strain={"11": [[1.1, 1.2, 1.3, 1.4, 1.5]] * 2}, stress={"22": 0.0}, path_class="uniaxial"),
]


def make(folder, law=RUBBER, paths=PATHS, **change):
    return generate(law, paths, folder, **{"shard_size": 2, "progress": False, **change})


class Interrupted(Serial):
    """Ctrl-C after a number of shards."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def run(self, work, tasks):
        for k, result in enumerate(super().run(work, tasks)):
            if k == self.after:
                raise KeyboardInterrupt
            yield result


def test_interrupted_and_resumed_is_the_same_dataset(tmp_path):
    whole = make(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "parts", executor=Interrupted(2))
    part = Store(tmp_path / "parts")
    assert (part.n_done, part.complete) == (4, False)
    assert len(part.arrays()["stress"]) == 4  # what is finished is usable
    before = (tmp_path / "parts" / "shard_00000.h5").stat().st_mtime_ns
    resumed = make(tmp_path / "parts")
    assert resumed.complete
    assert resumed.sha256 == whole.sha256
    assert resumed.manifest == whole.manifest
    assert (tmp_path / "parts" / "shard_00000.h5").stat().st_mtime_ns == before  # skipped, not made again


SCRIPT = """
    import sys, torch
    from datagen.generate import generate
    from datagen.laws.neo_hooke import NeoHooke
    from datagen.paths.proportional import proportional
    torch.set_num_threads(1)
    path = proportional("finite", None, 120, 5, 0.2, seed=0)
    generate(NeoHooke(mu=1.0, lmbda=10.0), path, sys.argv[1], shard_size=2, progress=False)
"""


def test_killed_and_resumed_is_the_same_dataset(tmp_path):
    """By kill -9 from outside, in the middle of a run of 60 shards, at whatever it is doing."""
    folder = tmp_path / "killed"
    script = textwrap.dedent(SCRIPT)
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)])
    began = time.monotonic()
    while not (folder / "shard_00003.h5").exists() and process.poll() is None and time.monotonic() - began < 60:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = Store(folder).n_done
    assert 4 <= done < 120
    path = proportional("finite", None, 120, 5, 0.2, seed=0)
    torch_threads = torch.get_num_threads()
    resumed = generate(RUBBER, path, folder, shard_size=2, executor=Serial(threads=1), progress=False)
    whole = generate(RUBBER, path, tmp_path / "whole", shard_size=2, executor=Serial(threads=1), progress=False)
    assert resumed.sha256 == whole.sha256
    assert resumed.n_done == 120
    assert not list(folder.glob("*.tmp"))
    assert torch.get_num_threads() == torch_threads


def test_leftovers_of_a_killed_run_are_cleared_and_unlisted_shards_made_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, executor=Interrupted(1))
    (tmp_path / "shard_00001.h5.123.tmp").write_bytes(b"half")
    (tmp_path / "manifest.json.123.tmp").write_bytes(b"half")
    (tmp_path / "shard_00002.h5").write_bytes(b"renamed, but not yet in the manifest")
    (tmp_path / "notes.tmp").write_text("mine")
    store = make(tmp_path)
    store.verify()
    assert [file.name for file in tmp_path.glob("*.tmp")] == ["notes.tmp"]


def test_a_deleted_shard_is_made_anew(tmp_path):
    whole = make(tmp_path)
    (tmp_path / "shard_00001.h5").unlink()
    again = make(tmp_path)
    assert again.sha256 == whole.sha256
    assert again.manifest == whole.manifest


def test_processes_write_what_serial_writes(tmp_path):
    serial = make(tmp_path / "serial", executor=Serial(threads=1), tangent=True)
    spawned = make(tmp_path / "spawned", executor=Processes(workers=2, threads=1), tangent=True)
    assert spawned.sha256 == serial.sha256
    assert spawned.manifest == serial.manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"law": NeoHooke(mu=1.5, lmbda=10.0)}, "law.mu = 1.0, this run has 1.5"),
        ({"law": PlaneStress(RUBBER), "paths": PATHS[0]}, "parts have other components"),
        ({"seed": 7}, "seed = 0, this run has 7"),
        ({"shard_size": 4}, "shard_size = 2, this run has 4"),
        ({"tangent": True}, "tangent = false, this run has true"),
        ({"executor": Serial(threads=2)}, "threads = 1, this run has 2"),
        ({"config": {"law": {"mu": 1.0}, "path": {"n": [1, 3]}}}, r"config.path.n.1 = 2, this run has 3"),
        ({"config": {"law": {"mu": 1.0}}}, r"config.path = .*, this run has null"),
        ({"paths": [proportional("finite", None, 6, 5, 0.2, seed=1), PATHS[1]]}, r"paths.0.sha256 = "),
        ({"paths": PATHS[0]}, "components|n_members = 8, this run has 6"),
    ],
)
def test_a_folder_begun_with_something_else_is_refused_naming_it(tmp_path, change, message):
    config = {"law": {"mu": 1.0}, "path": {"n": [1, 2]}}
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, executor=Interrupted(1), config=config)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    if isinstance(change.get("law"), PlaneStress):
        change = {**change, "paths": proportional("finite", ("11", "12", "21", "22"), 6, 5, 0.2, seed=0)}
        message = "components = "
    with pytest.raises(ValueError, match=message) as error:
        make(tmp_path, **{"config": config, **change})
    assert "\n" not in str(error.value)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_shards_without_a_manifest_are_not_overwritten(tmp_path):
    (tmp_path / "shard_00000.h5").write_bytes(b"precious")
    with pytest.raises(ValueError, match=r"got shard_00000.h5 without manifest.json"):
        make(tmp_path)
    assert (tmp_path / "shard_00000.h5").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"paths": proportional("small", None, 2, 5, 0.1, seed=0)}, ValueError, "path: got SMALL strain"),
        ({"paths": []}, ValueError, "paths: got none"),
        (
            {"paths": [PATHS[0], proportional("finite", None, 2, 4, 0.1, seed=0)]},
            ValueError,
            "got batches of 4, 5 steps",
        ),
        ({"shard_size": 0}, ValueError, "shard_size: got 0"),
        ({"law": "rubber"}, TypeError, "law: got str, wanted a Law"),
        ({"config": {"law": RUBBER}}, TypeError, "config: got something that JSON cannot hold"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(tmp_path, given, error, message):
    with pytest.raises(error, match=message):
        make(tmp_path / "data", **given)
    assert not (tmp_path / "data").exists()


class Picky(NeoHooke):
    """A law that refuses its parameters, or breaks, only when it is asked."""

    parameter_names = ("kind",)

    def forward(self, strain, state, dt, parameters=None):
        if (parameters == 1).any():
            raise ValueError("kind: got 1, wanted 0")
        if (parameters == 2).any():
            raise RuntimeError("out of memory")
        return super().forward(strain, state, dt)


def test_wrong_input_that_only_the_law_can_see_leaves_nothing_half_written(tmp_path):
    path = PATHS[0].with_parameters(torch.ones(6, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="kind: got 1, wanted 0"):
        make(tmp_path / "data", law=Picky(1.0, 10.0), paths=path)
    assert not (tmp_path / "data").exists()


def test_shards_that_stay_broken_are_listed_and_the_others_stay(tmp_path):
    kind = torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0, 0.0], dtype=torch.float64)[:, None]
    with pytest.raises(RuntimeError, match=r"shards are missing: shard_00001.h5 given up after 3 attempts: out of"):
        make(tmp_path, law=Picky(1.0, 10.0), paths=PATHS[0].with_parameters(kind))
    store = Store(tmp_path)
    assert store.n_done == 4
    assert store.arrays()["member"].tolist() == [0, 1, 4, 5]
    assert store.arrays(["parameters"])["parameters"].shape == (4, 1)
    assert store.paths()[0].parameters is not None


def test_the_seed_the_configuration_and_the_law_are_on_record(tmp_path):
    store = make(tmp_path, seed=11, config={"law": {"mu": 1.0}})
    assert store.provenance["seed"] == 11
    assert store.provenance["config"] == {"law": {"mu": 1.0}}
    assert store.provenance["law"]["class"] == "datagen.laws.neo_hooke.NeoHooke"
    assert store.measure is Measure.FINITE
    assert store.components == Measure.FINITE.components
    json.loads((tmp_path / MANIFEST).read_text())


def test_a_fingerprint_sees_every_part_of_a_law():
    inner = NeoHooke(mu=1.0, lmbda=10.0)
    print_of = fingerprint(PlaneStress(inner, tolerance=1e-10))
    assert print_of["law.mu"] == 1.0
    assert print_of["tolerance"] == 1e-10
    assert print_of["law.class"] == "datagen.laws.neo_hooke.NeoHooke"
    steel = J2Plasticity(E=210000.0, nu=0.3, yield_stress=250.0, hardening=2100.0)
    assert fingerprint(steel) == fingerprint(steel)
    field = steel.with_buffers(yield_stress=torch.linspace(1, 2, 5))
    assert fingerprint(field)["yield_stress"].startswith("float32 (5,) ")
    steel.register_buffer("odd", torch.tensor(torch.nan))
    assert json.loads(json.dumps(fingerprint(steel), allow_nan=False))["odd"] == "nan"
    steel.me = [steel, {"a": (1, None)}, print]
    assert fingerprint(steel)["me.0"] == "itself"
    assert fingerprint(steel)["me.1.a.0"] == 1


def test_members_are_the_same_in_a_larger_run_and_in_other_shards(tmp_path):
    small = make(tmp_path / "small", paths=random_walk("finite", None, 4, 5, 0.1, seed=0)).arrays()
    large = make(tmp_path / "large", paths=random_walk("finite", None, 9, 5, 0.1, seed=0), shard_size=5).arrays()
    torch.testing.assert_close(small["stress"], large["stress"][:4], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    "module",
    ["generate", "progress", "executor.serial", "paths.path", "paths.drive"],
)
def test_the_examples_in_the_docstrings_run(module):
    results = doctest.testmod(importlib.import_module(f"datagen.{module}"))
    assert results.failed == 0
    assert results.attempted > 0
