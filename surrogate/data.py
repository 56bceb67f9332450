"""Recorded paths as tensors, split by path into training and validation, on the device where they are learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from torch import Tensor

from datagen.laws.law import Law, Measure
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER
from datagen.paths.drive import Record
from datagen.store import Store

Source = Store | Record | Mapping[str, Any] | str | Path | Sequence[Record]
"""Where paths come from: a store or its folder, what `drive` returned, or a dictionary of arrays as a store's."""


class Answer(NamedTuple):
    """What a law answered along N paths of T steps; nan where it is not known."""

    psi: Tensor  # (N, T)     stored energy density at the end of the step [MPa]
    stress: Tensor  # (N, T, n)  [MPa]
    dissipation: Tensor  # (N, T)     within the step [MPa]
    tangent: Tensor | None  # (N, T, n)  tangent times `Records.direction` [MPa]; None where no tangent was recorded
    stress_error: Tensor | None = None  # (N, T, n)  standard error of the stress [MPa]; None: it has none
    psi_error: Tensor | None = None  # (N, T)     standard error of the energy [MPa]

    def map(self, f: Callable[[Tensor], Tensor]) -> Answer:
        """A function of every tensor."""
        return Answer(*(None if x is None else f(x) for x in self))  # type: ignore[arg-type]


class Records(NamedTuple):
    """N paths of T steps with what the law that is to be learned answered along them."""

    strain: Tensor  # (N, T + 1, n)  the reference state first
    dt: Tensor  # (N, T)         [s]
    parameters: Tensor  # (N, n_parameters)
    direction: Tensor  # (N, T, n)      unit vectors along the driven components, at random
    answer: Answer

    @property
    def n_paths(self) -> int:
        """Number of paths N."""
        return self.strain.shape[0]

    def map(self, f: Callable[[Tensor], Tensor]) -> Records:
        """A function of every tensor."""
        return Records(f(self.strain), f(self.dt), f(self.parameters), f(self.direction), self.answer.map(f))

    def pick(self, rows: Tensor) -> Records:
        """The paths with these numbers."""
        return self.map(lambda x: x[rows])

    def to(self, device: torch.device | str) -> Records:
        """The same paths on a device."""
        return self.map(lambda x: x.to(device))


@dataclass(frozen=True)
class Dataset:
    """Records with what they mean; `Dataset.read` makes one from a store, a `Record` or arrays.

    Members with a verdict without answer are dropped and counted in ``n_failed``.

    Attributes:
        measure: what strain and stress are.
        components: the driven strain components; only these enter losses and errors.
        records: the paths.
        path_class: class of each path, (N,) strings.
        n_failed: members that were dropped.
        sha256: digest of the store, "" for data that came without one.
    """

    measure: Measure
    components: tuple[str, ...]
    records: Records
    path_class: np.ndarray
    n_failed: int = 0
    sha256: str = ""

    @property
    def columns(self) -> list[int]:
        """Positions of the driven components."""
        return self.measure.columns(self.components)

    @property
    def classes(self) -> tuple[str, ...]:
        """The path classes in alphabetical order."""
        return tuple(sorted(set(self.path_class.tolist())))

    def pick(self, rows: np.ndarray) -> Dataset:
        """The paths with these numbers."""
        records = self.records.pick(torch.as_tensor(rows, dtype=torch.long, device=self.records.strain.device))
        return replace(self, records=records, path_class=self.path_class[rows])

    def of(self, classes: Sequence[str]) -> Dataset:
        """The paths of these classes; raises ValueError for a class that has none."""
        wanted = [classes] if isinstance(classes, str) else list(classes)
        for name in wanted:
            if name not in self.classes:
                raise ValueError(f"path class: got {name!r}, the data have {', '.join(self.classes)}")
        return self.pick(np.flatnonzero(np.isin(self.path_class, wanted)))

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on a device."""
        return replace(self, records=self.records.to(device))

    def check(self, law: Law) -> None:
        """Raise ValueError when this law cannot be compared with these data."""
        name = type(law).__name__
        if law.measure is not self.measure:
            raise ValueError(
                f"law: {name} takes the {law.measure.strain_name}, the data hold the {self.measure.strain_name}"
            )
        unseen = [c for c in self.components if c not in law.components]
        if unseen:
            raise ValueError(
                f"law: {name} was made for the strain components {', '.join(law.components)}, the data "
                f"also drive {', '.join(unseen)}"
            )
        n = self.records.parameters.shape[-1]
        if n and not law.parameter_names and bool((self.records.parameters != self.records.parameters[:1]).any()):
            raise ValueError(
                f"law: {name} takes no parameters, the data hold paths of different ones, as samples of a cell"
            )
        if law.parameter_names and len(law.parameter_names) != n:
            raise ValueError(
                f"law: {name} takes the parameters {', '.join(law.parameter_names)}, the data have {n} "
                f"parameter columns"
            )

    @classmethod
    def read(cls, source: Source | Dataset, seed: int = 0) -> Dataset:
        """Read paths from a store, its folder, a `Record`, several of them, or a dictionary of arrays.

        Args:
            source: a dictionary needs "strain" and "stress" (N, T, n), and may hold "psi", "dissipation", "dt",
                "verdict" (N, T), "parameters" (N, n_parameters), "tangent" (N, T, n, n), the standard errors
                "stress_error" (N, T, n) and "psi_error" (N, T), "path_class" (N,) or one string, and "components";
                these default to the components whose strain ever leaves the reference.
            seed: for the random directions in which tangents are compared.

        Raises:
            ValueError: arrays that are missing, have the wrong shape, or hold nan where the verdict is good; no
                path with an answer.
        """
        if isinstance(source, Dataset):
            return source
        if isinstance(source, str | Path):
            source = Store(source)
        if isinstance(source, Store):
            arrays = source.arrays(good_only=False)
            return cls._from_arrays({**arrays, "components": source.components}, seed, source.sha256)
        if isinstance(source, Record):
            return cls._from_arrays(_record_arrays(source), seed)
        if isinstance(source, Mapping):
            return cls._from_arrays(source, seed)
        records = [part for part in source if isinstance(part, Record)] if isinstance(source, Sequence) else []
        if records and len(records) == len(source):
            return _join([cls.read(record, seed + i) for i, record in enumerate(records)])
        raise TypeError(f"data: got {type(source).__name__}, wanted a Store, its folder, a Record or a dict of arrays")

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, Any], seed: int, sha256: str = "") -> Dataset:
        for name in ("strain", "stress"):
            if name not in arrays:
                raise ValueError(f"data: no array {name!r}, got {', '.join(sorted(arrays)) or 'none'}")
        strain = _double(arrays["strain"])
        measure = _measure(strain)
        N, T, n = strain.shape

        def get(name: str, *shape: int, default: float = torch.nan) -> Tensor:
            if arrays.get(name) is None:
                return torch.full(shape, default, dtype=torch.float64)
            x = _double(arrays[name])
            if tuple(x.shape) != shape:
                raise ValueError(f"data: {name} has shape {tuple(x.shape)}, wanted {shape} as strain is {(N, T, n)}")
            return x

        stress, psi, dissipation = get("stress", N, T, n), get("psi", N, T), get("dissipation", N, T)
        dt, verdict = get("dt", N, T, default=1.0), get("verdict", N, T, default=0.0)
        parameters = arrays.get("parameters")
        parameters = strain.new_zeros(N, 0) if parameters is None else _double(parameters)
        if parameters.dim() != 2 or len(parameters) != N:
            raise ValueError(f"data: parameters has shape {tuple(parameters.shape)}, wanted ({N}, n_parameters)")
        components = arrays.get("components") or _driven(strain, measure)
        columns = measure.columns(components)

        reference = measure.reference().expand(N, 1, n)
        direction = torch.zeros_like(strain)
        draw = torch.randn(N, T, len(columns), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        direction[..., columns] = draw / draw.norm(dim=-1, keepdim=True)
        tangent = None
        if arrays.get("tangent") is not None:
            dense = get("tangent", N, T, n, n)[..., columns]
            tangent = (dense * direction[..., None, columns]).sum(-1)
        shapes = {"stress_error": (N, T, n), "psi_error": (N, T)}
        errors = {
            name: get(name, *shape).nan_to_num() for name, shape in shapes.items() if arrays.get(name) is not None
        }
        answer = Answer(psi, stress, dissipation, tangent, **errors)
        records = Records(torch.cat([reference, strain], 1), dt, parameters, direction, answer)
        path_class = np.broadcast_to(np.asarray(arrays.get("path_class", "path")).astype(str), (N,))
        data = cls(measure, tuple(components), records, path_class, sha256=sha256)

        answered = ((verdict < FIRST_WITHOUT_ANSWER).all(-1)).numpy()
        data = replace(data.pick(np.flatnonzero(answered)), n_failed=int((~answered).sum()))
        if not answered.any():
            raise ValueError(f"data: none of {N} paths has an answer at every step; look at their verdicts")
        _check_finite(data)
        return data


def _double(x: Any) -> Tensor:
    return torch.as_tensor(x).detach().to("cpu", torch.float64)


def _measure(strain: Tensor) -> Measure:
    for measure in Measure:
        if strain.dim() == 3 and strain.shape[-1] == measure.n:
            return measure
    raise ValueError(f"data: strain has shape {tuple(strain.shape)}, wanted (paths, steps, 6 or 9)")


def _driven(strain: Tensor, measure: Measure) -> tuple[str, ...]:
    """The components whose strain ever leaves the reference."""
    moved = ((strain - measure.reference()).abs() > 0).flatten(0, 1).any(0).tolist()
    names = tuple(name for name, yes in zip(measure.components, moved, strict=True) if yes)
    if not names:
        raise ValueError("data: no strain component ever leaves the reference; there is nothing to learn")
    return names


def _check_finite(data: Dataset) -> None:
    """A nan in psi or dissipation means not known; anywhere else it is an error in the data."""
    r = data.records
    driven = {"strain": r.strain, "stress": r.answer.stress[..., data.columns], "dt": r.dt, "parameters": r.parameters}
    for name, x in driven.items():
        bad = ~x.isfinite().flatten(1).all(1)
        if bad.any():
            raise ValueError(
                f"data: {name} of {int(bad.sum())} paths is not finite though their verdict is good, "
                f"first path {int(bad.nonzero()[0, 0])}"
            )


def _record_arrays(record: Record) -> dict[str, Any]:
    path = record.path
    names = ("strain", "stress", "psi", "dissipation", "verdict", "tangent")
    arrays = {name: getattr(record, name) for name in names}
    return {
        **arrays,
        **{name: record.extras[name] for name in ("stress_error", "psi_error") if name in record.extras},
        "dt": path.dt,
        "parameters": path.parameters,
        "path_class": path.path_class,
        "components": path.components,
    }


def _join(parts: list[Dataset]) -> Dataset:
    """Several data sets of equal measure, components and number of steps as one."""
    first = parts[0]
    for part in parts[1:]:
        if (part.measure, part.components) != (first.measure, first.components):
            raise ValueError(
                f"data: components {', '.join(part.components)} beside {', '.join(first.components)}, "
                f"wanted the same in every record"
            )
        if part.records.dt.shape[1] != first.records.dt.shape[1]:
            raise ValueError(
                f"data: {part.records.dt.shape[1]} steps beside {first.records.dt.shape[1]}, "
                f"wanted the same in every record"
            )
    rows = [part.records for part in parts]
    answers = [r.answer for r in rows]
    answer = Answer(
        torch.cat([a.psi for a in answers]),
        torch.cat([a.stress for a in answers]),
        torch.cat([a.dissipation for a in answers]),
        _joined([a.tangent for a in answers]),
        _joined([a.stress_error for a in answers], absent=0.0, like=[a.stress for a in answers]),
        _joined([a.psi_error for a in answers], absent=0.0, like=[a.psi for a in answers]),
    )
    records = Records(
        torch.cat([r.strain for r in rows]),
        torch.cat([r.dt for r in rows]),
        torch.cat([r.parameters for r in rows]),
        torch.cat([r.direction for r in rows]),
        answer,
    )
    classes = np.concatenate([part.path_class for part in parts])
    return replace(first, records=records, path_class=classes, n_failed=sum(part.n_failed for part in parts))


def _joined(parts: list[Tensor | None], absent: float | None = None, like: Sequence[Tensor] = ()) -> Tensor | None:
    """All in one; None where one lacks, unless that means the number ``absent`` in the shape of ``like``."""
    known = [x for x in parts if x is not None]
    if not known or (len(known) < len(parts) and absent is None):
        return None
    if absent is None:
        return torch.cat(known)
    filled = zip(parts, like, strict=True)
    return torch.cat([torch.full_like(shape, absent) if x is None else x for x, shape in filled])


class Minibatches:
    """All paths once per epoch in a new random order, ``size`` at a time; one batch in the stored order if None."""

    def __init__(self, records: Records, size: int | None, seed: int = 0) -> None:
        self.records = records
        self.size = records.n_paths if size is None else min(size, records.n_paths)
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-self.records.n_paths // self.size)

    def __iter__(self) -> Iterator[Records]:
        if len(self) == 1:
            yield self.records
            return
        order = torch.randperm(self.records.n_paths, generator=self.generator).to(self.records.strain.device)
        for rows in order.split(self.size):
            yield self.records.pick(rows)


class PathData(lightning.LightningDataModule):
    """Training and validation paths for a `Trainer`, whole on the device.

    The split is by path, class by class: of every class the same fraction validates.

    Args:
        source: what `Dataset.read` takes.
        validation: fraction of the paths of every class that validates, in (0, 1).
        train_classes: the path classes to learn from; default all. The others are left for `evaluate`.
        batch_size: paths in a minibatch; None: all.
        seed: for the split and the order of the paths.
        device: where the tensors live.

    Raises:
        ValueError: fewer than two paths, or a class the data do not have.
    """

    def __init__(
        self,
        source: Source | Dataset,
        validation: float = 0.15,
        train_classes: Sequence[str] | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        if not 0 < validation < 1:
            raise ValueError(f"validation: got {validation}, wanted a fraction of the paths in (0, 1)")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size: got {batch_size}, wanted a number of paths >= 1")
        data = Dataset.read(source, seed)
        data = data if train_classes is None else data.of(train_classes)
        if data.records.n_paths < 2:
            raise ValueError(
                f"data: {data.records.n_paths} path with an answer, wanted at least 2: to train and to validate"
            )
        train, held = _split(data.path_class, validation, seed)
        self.dataset = data
        self.train, self.validation = data.pick(train).to(device), data.pick(held).to(device)
        self.batch_size, self.seed = batch_size, seed

    def train_dataloader(self) -> Minibatches:
        """Minibatches of the training paths."""
        return Minibatches(self.train.records, self.batch_size, self.seed)

    def val_dataloader(self) -> Minibatches:
        """The validation paths as one batch."""
        return Minibatches(self.validation.records, None)


def _split(path_class: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted row numbers that train and that validate; neither is empty for two paths or more."""
    generator = np.random.default_rng(seed)
    held = []
    for name in sorted(set(path_class.tolist())):
        rows = generator.permutation(np.flatnonzero(path_class == name))
        held.append(rows[: min(round(fraction * len(rows)), len(rows) - 1)])
    chosen = np.concatenate(held)
    if len(chosen) == 0:
        chosen = generator.permutation(len(path_class))[:1]
    return np.setdiff1d(np.arange(len(path_class)), chosen), np.sort(chosen)
