"""Datasets on disk: shards of HDF5, a manifest with their checksums, units, provenance. The only room that knows HDF5.

A dataset is a folder::

    manifest.json        what the dataset is, how it was made, and for each finished shard its checksums
    shard_00000.h5       arrays of some members, member axis first, each with its unit and meaning
    shard_00001.h5       ...

Files are written under another name, flushed to the disk and renamed, so that a name always stands for a whole file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from datagen.laws.law import Extra, Measure
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER
from datagen.paths.drive import Record
from datagen.paths.path import LoadPath

MANIFEST = "manifest.json"
FORMAT = "micromacro dataset 1"
UNITS = {"length": "mm", "stress": "MPa", "energy density": "MPa", "time": "s"}

# What HDF5 hands back must be one of these; everything else (references, variable length, compound) is refused.
_TYPES = ("float64", "int64", "int8", "bool")


def schema(measure: Measure, extras: Mapping[str, Extra]) -> dict[str, tuple[str, str]]:
    """Unit and meaning of every array that a shard may hold, by name."""
    fields = {
        "strain": ("-", f"{measure.strain_name} at the end of each step"),
        "stress": ("MPa", f"{measure.stress_name} at the end of each step"),
        "psi": ("MPa", "stored energy density at the end of each step"),
        "dissipation": ("MPa", "energy density dissipated within each step"),
        "dt": ("s", "time step"),
        "verdict": ("-", "0 good, 1 to 9 answer with a warning, from 10 no answer (nan)"),
        "member": ("-", "index of the member among all paths of the dataset"),
        "parameters": ("-", "per-point inputs of the law"),
        "tangent": ("MPa", "consistent tangent at the end of each step; columns that are not driven are zero"),
        "acoustic_eigenvalue": (
            "MPa",
            "lowest eigenvalue of the acoustic tensor at the end of each step; at zero ellipticity is lost; "
            "nan where the driven components do not fix one",
        ),
    }
    for name, extra in extras.items():
        if name == "acoustic_eigenvalue":  # of a law that tests its stability itself: the same number
            continue
        if name in fields or name == "path_class":
            raise ValueError(f"extras: got {name!r}, which is an array of every dataset; wanted another name")
        fields[name] = (extra.unit, extra.meaning)
    return fields


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 over names, types, shapes and bytes of arrays: equal data, equal digest, whatever the file looks like."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        a = arrays[name]
        h.update(f"{name} {a.dtype.newbyteorder('<').str} {a.shape}\n".encode())
        h.update(np.ascontiguousarray(a, a.dtype.newbyteorder("<")).tobytes())
    return h.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that its name never stands for half of it, even if the power fails."""
    tmp = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with tmp.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(tmp, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, atomically."""
    text = json.dumps(manifest, indent=1, allow_nan=False)
    write_atomically(folder / MANIFEST, f"{text}\n".encode())


def write_shard(
    folder: Path, name: str, record: Record, first: int, extras: Mapping[str, Extra], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a record as a shard, atomically.

    Args:
        folder: of the dataset.
        name: of the file.
        record: what a law answered along the paths of the shard.
        first: index of its first member in the dataset.
        extras: declarations of the record's extras.
        attributes: provenance, written on the file as JSON.

    Returns:
        What the manifest keeps of it: name, members, path_class, n_failed, sha256 of the file, digest of the arrays.
    """
    arrays = _arrays(record, first)
    fields = schema(record.path.measure, extras)
    # Built in memory, so that the checksum is that of what should be on the disk.
    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        for key, value in {**attributes, "path_class": record.path.path_class}.items():
            file.attrs[key] = value if isinstance(value, str) else json.dumps(value)
        for key, array in arrays.items():
            dataset = file.create_dataset(key, data=array, track_times=False)
            dataset.attrs["unit"], dataset.attrs["description"] = fields[key]
        file.flush()
        content = file.id.get_file_image()
    write_atomically(folder / name, content)
    return {
        "name": name,
        "members": [first, first + record.path.n_paths],
        "path_class": record.path.path_class,
        "n_failed": int((~record.good).sum()),
        "sha256": hashlib.sha256(content).hexdigest(),
        "digest": digest(arrays),
    }


def _arrays(record: Record, first: int) -> dict[str, np.ndarray]:
    """The arrays of a shard: float64, int64, int8 or bool, on the CPU, with one kind of nan."""
    tensors = {
        "strain": record.strain,
        "stress": record.stress,
        "psi": record.psi,
        "dissipation": record.dissipation,
        "dt": record.path.dt,
        "verdict": record.verdict,
        "member": torch.arange(first, first + record.path.n_paths),
        "parameters": record.path.parameters,
        "tangent": record.tangent,
        "acoustic_eigenvalue": record.acoustic_eigenvalue,
        **record.extras,
    }
    arrays = {}
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        array = tensor.detach().cpu().contiguous().numpy()
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), np.nan, array.astype(np.float64))
        elif array.dtype not in (np.int8, np.bool_):
            array = array.astype(np.int64)
        arrays[name] = array
    return arrays


class Store:
    """A dataset on disk, as `generate` writes it; finished shards can be read while others are still missing.

    Every shard is checked against the manifest before it is read. Members without an answer at some step are counted in
    `n_failed` and left out of `arrays` unless asked for.

    Args:
        folder: of the dataset.

    Raises:
        FileNotFoundError: the folder holds no dataset.
        ValueError: a manifest or shard that is not what it should be; names it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(
                f"dataset: got {self.folder}, wanted a folder with {MANIFEST}, as written by generate"
            )
        try:
            self.manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            known = self.manifest["format"] == FORMAT
            self.measure = Measure(self.manifest["measure"])
            self.components: tuple[str, ...] = tuple(self.manifest["components"])
            self._shards: list[dict[str, Any]] = list(self.manifest["shards"])
            names = [str(shard["name"]) for shard in self._shards]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: got a file that is no manifest of a dataset ({error})") from None
        if not known:
            raise ValueError(f"{path}: got format {self.manifest['format']!r}, wanted {FORMAT!r}")
        for name in names:  # a name is never a way out of the folder
            if not re.fullmatch(r"shard_\d{5,}\.h5", name):
                raise ValueError(f"{path}: got a shard called {name!r}, wanted names like shard_00000.h5")

    @property
    def provenance(self) -> dict[str, Any]:
        """How the dataset was made: seed, resolved config, law, threads, device, versions, commit."""
        keys = ("seed", "config", "law", "threads", "device", "versions", "commit")
        return {key: self.manifest.get(key) for key in keys}

    @property
    def n_members(self) -> int:
        """Number of paths, unfinished and failed ones included."""
        return int(self.manifest["n_members"])

    @property
    def n_done(self) -> int:
        """Number of paths in finished shards, failed ones included."""
        return sum(last - first for first, last in (shard["members"] for shard in self._shards))

    @property
    def n_failed(self) -> int:
        """Number of paths in finished shards that have no answer at some step."""
        return sum(int(shard["n_failed"]) for shard in self._shards)

    @property
    def complete(self) -> bool:
        """Whether every shard is finished."""
        return self.n_done == self.n_members

    @property
    def sha256(self) -> str:
        """Digest of the dataset's arrays, shard by shard; equal for equal data, however it came about."""
        return hashlib.sha256(json.dumps([[s["name"], s["digest"]] for s in self._shards]).encode()).hexdigest()

    def arrays(self, names: Sequence[str] | None = None, good_only: bool = True) -> dict[str, np.ndarray]:
        """Arrays of all finished shards, member axis first.

        strain (N, T, n), stress (N, T, n), psi, dissipation, dt, verdict (N, T), member (N,), path_class (N,) of str;
        parameters (N, n_parameters), tangent (N, T, n, n) with acoustic_eigenvalue (N, T) and the law's extras
        where there are any.

        Args:
            names: which; all if None.
            good_only: leave out members without an answer at some step.
        """
        if not self._shards:
            raise ValueError(f"{self.folder}: got no finished shard, wanted at least one; run generate again")
        parts = list(self._parts(names, good_only))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def paths(self) -> list[LoadPath]:
        """The members with answers as strain-driven paths, one batch per class: to drive another law along them."""
        has_parameters = bool(self.manifest["parameter_names"])
        data = self.arrays(["strain", "dt", "path_class", *["parameters"][: int(has_parameters)]])
        batches = []
        for path_class in dict.fromkeys(data["path_class"].tolist()):
            rows = data["path_class"] == path_class
            batches.append(
                LoadPath(
                    self.measure,
                    torch.from_numpy(data["strain"][rows]),
                    self.components,
                    dt=torch.from_numpy(data["dt"][rows]),
                    parameters=torch.from_numpy(data["parameters"][rows]) if has_parameters else None,
                    path_class=path_class,
                )
            )
        return batches

    def verify(self) -> None:
        """Read every finished shard and compare it with the manifest; raises ValueError for the first that differs."""
        for shard in self._shards:
            arrays = _read(self._content(shard), str(shard["name"]), None)
            found = digest(arrays)
            if found != shard["digest"]:
                raise ValueError(f"{shard['name']}: got arrays with digest {found}, wanted {shard['digest']}")

    def _parts(self, names: Sequence[str] | None, good_only: bool) -> Iterator[dict[str, np.ndarray]]:
        for shard in self._shards:
            wanted = None if names is None else [*(n for n in names if n != "path_class"), "verdict"]
            part = _read(self._content(shard), str(shard["name"]), wanted)
            first, last = shard["members"]
            for name, array in part.items():
                if len(array) != last - first:
                    raise ValueError(f"{shard['name']}: got {len(array)} members in {name!r}, wanted {last - first}")
            limit = FIRST_WITHOUT_ANSWER if good_only else np.inf
            keep: np.ndarray = np.all(part["verdict"] < limit, axis=1)
            part["path_class"] = np.full(len(keep), str(shard["path_class"]))
            yield {name: part[name][keep] for name in (part if names is None else names)}

    def _content(self, shard: Mapping[str, Any]) -> bytes:
        """Bytes of a shard, compared with the manifest."""
        name = str(shard["name"])
        path = self.folder / name
        if not path.is_file():
            raise ValueError(f"{name}: got no such file in {self.folder}, wanted the shard that the manifest lists")
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != shard["sha256"]:
            raise ValueError(
                f"{name}: got sha256 {found}, wanted {shard['sha256']} as in the manifest; the file has changed. "
                f"Delete it and run generate again to make it anew"
            )
        return content


def _read(content: bytes, name: str, wanted: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Arrays of a shard. Only plain arrays that lie in the file itself are read: no links, filters, other types."""
    try:
        file = h5py.File(io.BytesIO(content), "r")
    except OSError as error:
        raise ValueError(f"{name}: got a file that HDF5 cannot read ({error})") from None
    with file:
        keys = list(file)
        for key in keys if wanted is None else wanted:
            if key not in keys:
                raise ValueError(f"{name}: got no array {key!r}, wanted names among {', '.join(keys)}, path_class")
        arrays = {}
        for key in keys if wanted is None else dict.fromkeys(wanted):
            if not isinstance(file.get(key, getlink=True), h5py.HardLink):
                raise ValueError(f"{name}: got a link at {key!r}, wanted an array in the file itself")
            dataset = file[key]
            if not isinstance(dataset, h5py.Dataset) or dataset.dtype.name not in _TYPES:
                raise ValueError(f"{name}: got no plain array of numbers at {key!r}")
            filters = dataset.id.get_create_plist().get_nfilters()
            # A dataset whose storage is smaller than its shape would read as fill values.
            hollow = dataset.id.get_storage_size() != dataset.nbytes
            if dataset.external or dataset.is_virtual or filters or hollow:
                raise ValueError(f"{name}: got external, virtual or filtered storage at {key!r}, wanted plain storage")
            arrays[key] = dataset[()]
    return arrays
