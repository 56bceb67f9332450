"""Microstructures of FANS, written as its documentation and its companion MSUtils write them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from datagen.microstructures.fans_file import fans_file

PHASE = np.random.default_rng(0).integers(0, 3, (4, 3, 2)).astype(np.uint16)  # x, y, z


def written(path, stored, order=None, name="/sphere/4x3x2/ms"):
    with h5py.File(path, "a") as file:
        item = file.create_dataset(name, data=stored, compression="gzip")
        if order is not None:
            item.attrs["permute_order"] = order
    return path


@pytest.mark.parametrize("order", [None, "zyx", np.bytes_("zyx"), "ZYX"])
def test_the_slowest_axis_of_a_file_is_z_unless_it_says_otherwise(tmp_path, order):
    cell = fans_file(written(tmp_path / "ms.h5", PHASE.transpose(2, 1, 0), order), "/sphere/4x3x2/ms")
    assert np.array_equal(cell.phase[0].numpy(), PHASE)
    assert cell.spacing == (0.25, 0.25, 0.25)


def test_a_file_that_says_so_has_x_as_its_slowest_axis(tmp_path):
    cell = fans_file(written(tmp_path / "ms.h5", PHASE, "xyz"), size=(2.0, 3.0, 4.0))
    assert np.array_equal(cell.phase[0].numpy(), PHASE)
    assert cell.spacing == (0.5, 1.0, 2.0)


def test_labels_become_phases(tmp_path):
    path = written(tmp_path / "ms.h5", 5 * PHASE, "xyz")
    assert np.array_equal(fans_file(path, labels={0: 0, 5: 1, 10: 1}).phase[0].numpy(), np.minimum(PHASE, 1))
    with pytest.raises(ValueError, match="wanted phase indices"):
        fans_file(path)


def test_a_file_that_fans_would_not_read_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        fans_file(tmp_path / "none.h5")
    (tmp_path / "cell.h5").write_bytes(b"not what the name says")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        fans_file(tmp_path / "cell.h5")
    path = written(tmp_path / "ms.h5", PHASE, "yxz")
    with pytest.raises(ValueError, match="got permute_order 'yxz', wanted 'zyx' or 'xyz'"):
        fans_file(path)
    written(path, PHASE[0], name="flat")
    with pytest.raises(ValueError, match="got the datasets flat, sphere/4x3x2/ms; name one"):
        fans_file(path)
    with pytest.raises(ValueError, match=r"got a dataset of shape \(3, 2\), wanted three axes"):
        fans_file(path, "flat")
    written(path, PHASE, name="good")
    with pytest.raises(ValueError, match="size: got"):
        fans_file(path, "good", size=(1.0, 2.0))
    with pytest.raises(ValueError, match="size: got 0"):
        fans_file(path, "good", size=0)
    with pytest.raises(ValueError, match="got 4 x 3 x 2 voxels, wanted at most max_voxels = 23"):
        fans_file(path, "good", max_voxels=23)
