"""Drive a law along paths, through an executor, into a dataset on disk that can be interrupted and resumed."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy
import torch
from torch import Tensor

from datagen.executor.executor import Executor, Failure
from datagen.executor.serial import Serial
from datagen.laws.law import Law
from datagen.paths.drive import check, drive
from datagen.paths.path import LoadPath
from datagen.progress import ProgressView
from datagen.provenance import commit
from datagen.store import FORMAT, MANIFEST, UNITS, Store, digest, schema, write_manifest, write_shard


def generate(
    law: Law,
    paths: LoadPath | Sequence[LoadPath],
    folder: str | Path,
    executor: Executor | None = None,
    shard_size: int = 64,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    tangent: bool = False,
    progress: bool = True,
) -> Store:
    """Record a law along load paths in a dataset; started again after an interruption it goes on where it was.

    The unit of work is a shard: the paths of one shard are one batch of the law. Its members, their order, the size of
    the shard and the number of threads are fixed in the manifest when the folder is begun, so that on the same machine
    and versions the arrays are equal to the last bit, interrupted or not. Finished shards are checked and skipped. A
    member without an answer is stored with its verdict and counted in `Store.n_failed`.

    Args:
        law: any law; how it is built is part of the dataset and may not change on resumption.
        paths: what to drive it along, of one measure and number of steps.
        folder: of the dataset; made if missing.
        executor: where shards are computed; `Serial` if None.
        shard_size: paths in a shard, so also in memory at a time for each worker.
        seed: that the paths were sampled with, for the record.
        config: resolved configuration, for the record; may not change on resumption.
        tangent: whether to record the consistent tangent too, and the lowest eigenvalue of its acoustic tensor.
        progress: whether to show progress on standard error.

    Raises:
        ValueError: a law and paths that do not fit; a folder that was begun with something else (names it); a finished
            shard that has changed.
        RuntimeError: shards that failed again and again, listed; the others are finished and stay.

    >>> import tempfile
    >>> from datagen.laws.neo_hooke import NeoHooke
    >>> from datagen.paths.proportional import proportional
    >>> path = proportional("finite", ["11", "12", "21", "22"], n_paths=8, n_steps=4, amplitude=0.2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = generate(NeoHooke(mu=1.0, lmbda=10.0), path, folder, progress=False)
    ...     data = store.arrays()
    >>> data["stress"].shape, data["psi"].shape, store.n_failed
    ((8, 4, 9), (8, 4), 0)
    """
    batches = [paths] if isinstance(paths, LoadPath) else list(paths)
    _check(law, batches, shard_size)
    executor = executor or Serial()
    folder = Path(folder)
    plan = _plan(law, batches, shard_size, executor.threads or torch.get_num_threads(), seed, config, tangent)
    made = not folder.exists()
    manifest = _begin(folder, plan)
    finished = {shard["name"]: shard for shard in manifest["shards"]}
    tasks = [task for task in _tasks(batches, shard_size) if task.name not in finished]
    attributes = {key: value for key, value in manifest.items() if key not in ("shards", "paths")}
    work = _Work(law, folder, int(plan["threads"]), tangent, attributes)
    given_up: list[str] = []
    done = sum(shard["members"][1] - shard["members"][0] for shard in finished.values())
    failed = sum(shard["n_failed"] for shard in finished.values())
    view = ProgressView("generate", plan["n_members"], "paths", already=done, failed=failed, show=progress)
    wrong: Exception | None = None
    with view, closing(executor.run(work, tasks)) as results:
        for index, result in results:
            task = tasks[index]
            if isinstance(result, Failure):
                if result.wrong_input:
                    wrong = result.error
                    break
                given_up.append(f"{task.name} {result}")
                continue
            finished[task.name] = result
            manifest["shards"] = sorted(finished.values(), key=lambda shard: shard["members"])
            write_manifest(folder, manifest)
            view.advance(task.path.n_paths, result["n_failed"])
    if wrong is not None:
        _unmake(folder, finished, made)
        raise wrong
    if given_up:
        raise RuntimeError(f"{folder}: shards are missing: {'; '.join(given_up)}")
    return Store(folder)


@dataclass(frozen=True)
class _Task:
    """One shard: its file, the index of its first member in the dataset, its paths."""

    name: str
    first: int
    path: LoadPath


@dataclass(frozen=True)
class _Work:
    """What a worker does with a task: drive the law along its paths and write the shard."""

    law: Law
    folder: Path
    threads: int
    tangent: bool
    attributes: Mapping[str, Any]

    def __call__(self, task: _Task) -> dict[str, Any]:
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            record = drive(self.law, task.path, self.tangent)
        finally:
            torch.set_num_threads(threads)
        return write_shard(self.folder, task.name, record, task.first, self.law.extras, self.attributes)


def _tasks(batches: Sequence[LoadPath], shard_size: int) -> list[_Task]:
    """Cut the batches into shards; a shard holds paths of one batch, for it is one batch of the law."""
    tasks: list[_Task] = []
    first = 0
    for batch in batches:
        for start in range(0, batch.n_paths, shard_size):
            path = batch.select(range(start, min(start + shard_size, batch.n_paths)))
            tasks.append(_Task(f"shard_{len(tasks):05d}.h5", first, path))
            first += path.n_paths
    return tasks


def _check(law: Law, batches: Sequence[LoadPath], shard_size: int) -> None:
    """Raise ValueError for what is wrong before anything is written."""
    if not isinstance(law, Law):
        raise TypeError(f"law: got {type(law).__name__}, wanted a Law")
    if not batches:
        raise ValueError("paths: got none, wanted at least one LoadPath")
    if shard_size < 1:
        raise ValueError(f"shard_size: got {shard_size}, wanted an integer >= 1")
    steps = {batch.n_steps for batch in batches}
    if len(steps) > 1:
        raise ValueError(f"paths: got batches of {', '.join(map(str, sorted(steps)))} steps, wanted equally many")
    for batch in batches:
        check(law, batch)
    schema(law.measure, law.extras)


def _begin(folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the folder: begun from the plan, or found there and compared with it."""
    if not (folder / MANIFEST).exists():
        orphans = sorted(folder.glob("shard_*.h5"))
        if orphans:
            raise ValueError(f"{folder}: got {orphans[0].name} without {MANIFEST}, wanted a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {**plan, "commit": commit(), "shards": []}
        write_manifest(folder, manifest)
        return manifest
    store = Store(folder)
    manifest = store.manifest
    difference = _difference(manifest, plan)
    if difference:
        raise ValueError(f"{folder}: was begun with {difference}; wanted the same, or another folder")
    manifest["shards"] = [shard for shard in manifest["shards"] if (folder / shard["name"]).exists()]
    write_manifest(folder, manifest)
    for leftover in [*folder.glob("shard_*.tmp"), *folder.glob(f"{MANIFEST}.*.tmp")]:
        leftover.unlink(missing_ok=True)
    Store(folder).verify()
    return manifest


def _unmake(folder: Path, finished: Mapping[str, Any], made: bool) -> None:
    """Wrong input leaves nothing half-written: a dataset without a shard goes, and the folder if this run made it."""
    if not finished:
        for file in [folder / MANIFEST, *folder.glob("shard_*")]:
            file.unlink(missing_ok=True)
        if made:
            folder.rmdir()


def _plan(
    law: Law,
    batches: Sequence[LoadPath],
    shard_size: int,
    threads: int,
    seed: int,
    config: Mapping[str, Any] | None,
    tangent: bool,
) -> dict[str, Any]:
    """Everything that determines the dataset; as JSON, for comparison with the manifest of an earlier run."""
    driven = {name for batch in batches for name in batch.components}
    device = torch.cuda.get_device_name(law.device) if law.device.type == "cuda" else platform.machine()
    plan = {
        "format": FORMAT,
        "measure": law.measure.value,
        "component_order": law.measure.components,
        "components": [name for name in law.measure.components if name in driven],
        "parameter_names": law.parameter_names,
        "units": UNITS,
        "n_members": sum(batch.n_paths for batch in batches),
        "n_steps": batches[0].n_steps,
        "shard_size": shard_size,
        "threads": threads,
        "tangent": tangent,
        "seed": seed,
        "config": config,
        "law": fingerprint(law),
        "paths": [_path_print(batch) for batch in batches],
        "device": f"{law.device.type} ({device})",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "h5py": h5py.__version__,
            "hdf5": h5py.version.hdf5_version,
        },
    }
    try:
        plan = json.loads(json.dumps(plan, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"config: got something that JSON cannot hold ({error}), wanted plain values") from None
    return plan


def _path_print(path: LoadPath) -> dict[str, Any]:
    """What a batch of paths is, with a digest of its numbers."""
    tensors = {"target": path.target, "dt": path.dt, "parameters": path.parameters}
    return {
        "path_class": path.path_class,
        "n_paths": path.n_paths,
        "components": path.components,
        "stress_components": path.stress_components,
        "sha256": digest({name: t.cpu().numpy() for name, t in tensors.items() if t is not None}),
    }


def fingerprint(law: Law) -> dict[str, Any]:
    """What a law is, by name of its parts: numbers and words as they are, larger arrays by digest.

    Buffers, parameters, submodules and public attributes count; private ones (a leading underscore) are a law's own
    working memory and do not, nor do the words of its extras.

    >>> from datagen.laws.neo_hooke import NeoHooke
    >>> fingerprint(NeoHooke(mu=1.0, lmbda=10.0))
    {'class': 'datagen.laws.neo_hooke.NeoHooke', 'mu': 1.0, 'lmbda': 10.0}
    """
    entries: dict[str, Any] = {}
    _enter(entries, "", law, [])
    return entries


_PLAIN = (bool, int, float, str)


def _plain(value: Any) -> Any:
    """The value, or in words if JSON does not know it."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _enter(entries: dict[str, Any], name: str, value: Any, inside: list[int]) -> None:
    """Enter a value and its parts under its dotted name."""
    if isinstance(value, Enum):
        entries[name] = value.name
    elif value is None or isinstance(value, _PLAIN):
        entries[name] = _plain(value)
    elif isinstance(value, (list, tuple)) and all(isinstance(item, _PLAIN) for item in value):
        entries[name] = [_plain(item) for item in value]
    elif isinstance(value, (Tensor, np.ndarray)):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        if array.size == 1:
            _enter(entries, name, array.item(), inside)
        else:
            entries[name] = f"{array.dtype} {array.shape} {digest({'': array})}"
    elif isinstance(value, (torch.dtype, torch.device, Path)):
        entries[name] = str(value)
    elif isinstance(value, (set, frozenset)):
        entries[name] = sorted(map(repr, value))
    elif id(value) in inside:
        entries[name] = "itself"
    else:
        _enter_parts(entries, name, value, [*inside, id(value)])


def _enter_parts(entries: dict[str, Any], name: str, value: Any, inside: list[int]) -> None:
    prefix = f"{name}." if name else ""
    if isinstance(value, torch.nn.Module):
        parts = {**value._parameters, **value._buffers, **value._modules}
        own = {k: v for k, v in vars(value).items() if not k.startswith("_") and k not in ("training", "extras")}
        parts = {**parts, **own}
    elif isinstance(value, Mapping):
        parts = {str(k): v for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        parts = {str(k): v for k, v in enumerate(value)}
    else:
        parts = {k: v for k, v in getattr(value, "__dict__", {}).items() if not k.startswith("_")}
    if not isinstance(value, (Mapping, list, tuple)):
        kind = value if callable(value) and hasattr(value, "__qualname__") else type(value)
        entries[f"{prefix}class"] = f"{kind.__module__}.{kind.__qualname__}"
    for key, part in parts.items():
        _enter(entries, f"{prefix}{key}", part, inside)


def _difference(old: Any, new: Any, name: str = "") -> str | None:
    """The first difference in words, ``config.law.mu = 1.0, this run has 2.0``, or None; keys only in ``old`` count
    below the top, where the manifest has more to say than the plan."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(new) if not name else [*new, *(key for key in old if key not in new)]
        for key in keys:
            found = _difference(old.get(key), new.get(key), f"{name}.{key}" if name else key)
            if found:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for k, (a, b) in enumerate(zip(old, new, strict=True)):
            found = _difference(a, b, f"{name}.{k}")
            if found:
                return found
        return None
    return None if old == new else f"{name} = {json.dumps(old)}, this run has {json.dumps(new)}"
