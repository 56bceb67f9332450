"""Images and voxel files."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datagen.microstructures.descriptors import describe
from datagen.microstructures.microstructure import Microstructure

Shape = tuple[int, ...]

CURVES = 16  # phases up to which `write_cells` keeps two-point correlations of each


def voxel_file(
    path: str | Path,
    thresholds: Sequence[float] | None = None,
    labels: Mapping[int, int] | None = None,
    spacing: float | Sequence[float] = 1.0,
    mirror: bool = False,
    dataset: str | None = None,
    max_voxels: int = 2**27,
) -> Microstructure:
    """Read a microstructure from a .png, .tif, .npy or .h5 file.

    An image lies as one sees it: x to the right, y up; the pages of a .tif are stacked along z; a palette image gives
    its indices. An array in a .npy or .h5 file is (nx, ny), (nx, ny, nz) or (m, nx, ny, nz).

    Values become phases by thresholds or by labels; with neither they must be phase indices 0, 1, ... without holes.

    Args:
        path: of the file.
        thresholds: increasing values; a voxel's phase is the number of thresholds that are <= its value.
        labels: value to phase index, for every value in the file.
        spacing: edge of a voxel [mm], one number or one per axis.
        mirror: append the mirror image along every axis, which makes a periodic cell of any image.
        dataset: name of the dataset in a .h5 file; may be left out when there is only one.
        max_voxels: largest number of voxels to read, checked against the file's header before memory is taken.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read, is larger than ``max_voxels``, has more than one channel, or has values
            that do not become phases.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    readers = {".png": _image, ".tif": _image, ".tiff": _image, ".npy": _npy, ".h5": _h5, ".hdf5": _h5}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: got a {path.suffix or 'nameless'} file, wanted {', '.join(readers)}")
    cell = Microstructure(to_phases(path, reader(path, dataset, max_voxels), thresholds, labels), spacing)
    return cell.mirrored() if mirror else cell


def to_phases(
    path: Path, values: np.ndarray, thresholds: Sequence[float] | None, labels: Mapping[int, int] | None
) -> np.ndarray:
    """Phase indices of the values read from ``path``, as `voxel_file` describes them; raises ValueError likewise."""
    if values.dtype.kind not in "buif" or values.size == 0:
        raise ValueError(f"{path}: got {values.dtype} of shape {values.shape}, wanted numbers")
    if thresholds is not None and labels is not None:
        raise ValueError("thresholds, labels: got both, wanted one of them")
    if thresholds is not None:
        return _by_thresholds(path, values, thresholds)
    if labels is not None:
        return _by_labels(path, values, labels)
    return _as_they_stand(path, values)


def _by_thresholds(path: Path, values: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    limits = np.array([float(t) for t in thresholds])
    if len(limits) == 0 or not (np.diff(limits) > 0).all():
        raise ValueError(f"thresholds: got {list(limits)}, wanted increasing values")
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: got a value that is not a finite number")
    return np.searchsorted(limits, values, side="right")


def _by_labels(path: Path, values: np.ndarray, labels: Mapping[int, int]) -> np.ndarray:
    found = np.unique(values)
    unknown = [v.item() for v in found if v.item() not in labels]
    if unknown:
        raise ValueError(f"labels: got none for the value {unknown[0]} in {path}, wanted one for each value")
    phases = np.array([labels[v.item()] for v in found])
    if phases.dtype.kind != "i":
        raise ValueError(f"labels: got phases {list(labels.values())}, wanted integers >= 0")
    return phases[np.searchsorted(found, values)]


def _as_they_stand(path: Path, values: np.ndarray) -> np.ndarray:
    found = np.unique(values)
    if values.dtype.kind == "f" or not np.array_equal(found, np.arange(len(found))):
        listed = ", ".join(str(v) for v in found[:4]) + (", ..." if len(found) > 4 else "")
        raise ValueError(
            f"{path}: got values {listed}, wanted phase indices 0, 1, ... without holes; give thresholds or labels"
        )
    return values.astype(np.int64)


def check_size(path: Path, shape: Shape, max_voxels: int) -> None:
    """Refuse, with a ValueError, a file whose header announces more than ``max_voxels``."""
    if math.prod(shape) > max_voxels:
        size = " x ".join(str(n) for n in shape)
        raise ValueError(f"{path}: got {size} voxels, wanted at most max_voxels = {max_voxels}")


def one_line(error: Exception) -> str:
    """The first line of what an exception says."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _image(path: Path, dataset: str | None, max_voxels: int) -> np.ndarray:
    from PIL import Image, ImageSequence  # third party, and only needed where an image is read

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_voxels is the limit here
            image = Image.open(path, formats=("PNG", "TIFF"))
        with image:
            size, pages = image.size, getattr(image, "n_frames", 1)
            check_size(path, (*size, pages), max_voxels)
            if len(image.getbands()) != 1:
                raise ValueError(f"{path}: got the channels {', '.join(image.getbands())}, wanted one channel")
            layers: list[np.ndarray] = []
            for page in ImageSequence.Iterator(image):
                if page.size != size:
                    raise ValueError(f"{path}: got pages of several sizes, wanted one")
                layers.append(np.array(page))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {one_line(error)}") from error
    # Rows run down, columns to the right: x is the column, y the row counted from below.
    return np.stack([layer[::-1].T for layer in layers], -1)


def _npy(path: Path, dataset: str | None, max_voxels: int) -> np.ndarray:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # a map: nothing is read yet
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as an array: {one_line(error)}") from error
    if not isinstance(mapped, np.ndarray):
        raise ValueError(f"{path}: got an archive, wanted one array")
    check_size(path, mapped.shape, max_voxels)
    return np.array(mapped)


def _h5(path: Path, dataset: str | None, max_voxels: int) -> np.ndarray:
    return hdf5_values(path, dataset, max_voxels)[0]


def hdf5_values(
    path: Path, dataset: str | None, max_voxels: int, attribute: str | None = None
) -> tuple[np.ndarray, object]:
    """Values of a dataset of a HDF5 file, and of one of its attributes (None where it has none).

    Args:
        path: of the file.
        dataset: its name; may be left out when there is only one.
        max_voxels: largest number of values, checked before memory is taken.
        attribute: name of the attribute.

    Raises:
        ValueError: a file that cannot be read, a dataset that is not there, not clear, too large or not in the file.
    """
    import h5py  # third party, and only needed where such a file is read

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read as HDF5: {one_line(error)}") from error
    with file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        if dataset is None and len(names) != 1:
            raise ValueError(f"{path}: got the datasets {', '.join(names) or 'none'}; name one by dataset=")
        name = names[0] if dataset is None else dataset.strip("/")
        if name not in names:
            raise ValueError(f"{path}: got no dataset {name!r}, wanted one of {', '.join(names)}")
        item = file[name]
        if item.external or item.is_virtual:
            raise ValueError(
                f"{path}: got a dataset {name!r} that points to other files, wanted one that holds its values"
            )
        if item.shape is None:
            raise ValueError(f"{path}: got an empty dataset {name!r}, wanted numbers")
        check_size(path, item.shape, max_voxels)
        try:
            return item[()], None if attribute is None else item.attrs.get(attribute)
        except OSError as error:
            raise ValueError(f"{path}: cannot read the dataset {name!r}: {one_line(error)}") from error


def write_cells(cell: Microstructure, path: str | Path) -> None:
    """Write voxels and descriptors of all samples into a HDF5 file, whole or not at all.

    ``phase`` (m, nx, ny, nz), which `voxel_file` reads again, with the attribute ``spacing`` [mm]; ``orientations``
    (m, n_phases, 3, 3) where there are some; and under ``descriptors`` what
    `datagen.microstructures.descriptors.describe` says, two-point correlations too where there are at most `CURVES`
    phases.
    """
    import h5py  # third party, and only needed where such a file is written

    path = Path(path)
    aside = path.with_name(f".{path.name}.tmp")
    with h5py.File(aside, "w") as file:
        phase = file.create_dataset("phase", data=cell.phase.int().cpu().numpy(), compression="gzip")
        phase.attrs["spacing"] = cell.spacing
        if cell.orientations is not None:
            file["orientations"] = cell.orientations.cpu().numpy()
        for name, values in describe(cell, two_point=cell.n_phases <= CURVES).items():
            file[f"descriptors/{name}"] = values.cpu().numpy()
    os.replace(aside, path)
