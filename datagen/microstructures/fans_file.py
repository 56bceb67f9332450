"""Microstructures of FANS, in HDF5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.voxel_file import hdf5_values, to_phases


def fans_file(
    path: str | Path,
    dataset: str | None = None,
    size: float | Sequence[float] = 1.0,
    labels: Mapping[int, int] | None = None,
    max_voxels: int = 2**27,
) -> Microstructure:
    """Read a microstructure as FANS reads it: a HDF5 dataset of phase labels, one a voxel.

    The order of its axes stands in the dataset's attribute ``permute_order``, ``"zyx"`` (also where there is none) or
    ``"xyz"``. The file says nothing of lengths: they stand in FANS's input beside it.

    Args:
        path: of the file; ``filepath`` of FANS's input.
        dataset: path of the dataset inside the file, such as ``"/sphere/32x32x32/ms"``; ``datasetname`` of FANS's
            input. May be left out when there is only one.
        size: edges of the cell along x, y and z [mm], ``L`` of FANS's input; one number is the x edge of a cell of
            cubic voxels.
        labels: value to phase index, for every value in the file; without it the values must be phase indices 0, 1,
            ... without holes.
        max_voxels: largest number of voxels to read, checked against the file's header before memory is taken.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read, is larger than ``max_voxels``, has not three axes, names another order
            of its axes, or has values that do not become phases; or a size that does not fit.

    Reference:
        S. Leuschner, F. Fritzen, Comput. Mech. 62 (2018) 359, doi:10.1007/s00466-017-1501-5 (FANS);
        https://github.com/DataAnalyticsEngineering/FANS (the input format, version 0.6).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    values, order = hdf5_values(path, dataset, max_voxels, "permute_order")
    if values.ndim != 3:
        raise ValueError(f"{path}: got a dataset of shape {values.shape}, wanted three axes")
    text = "zyx" if order is None else order.decode("ascii", "replace") if isinstance(order, bytes) else str(order)
    if text.lower() not in ("zyx", "xyz"):
        raise ValueError(f"{path}: got permute_order {text[:40]!r}, wanted 'zyx' or 'xyz'")
    phase = to_phases(path, values, None, labels)
    if text.lower() == "zyx":
        phase = phase.transpose(2, 1, 0).copy()
    edges = [float(size) * n / phase.shape[0] for n in phase.shape] if isinstance(size, int | float) else list(size)
    if len(edges) != 3 or not all(edge > 0 for edge in edges):
        raise ValueError(f"size: got {size}, wanted the x edge or three edges > 0 [mm]")
    return Microstructure(phase, [edge / n for edge, n in zip(edges, phase.shape, strict=True)])
