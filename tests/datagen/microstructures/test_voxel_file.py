from __future__ import annotations

import h5py
import numpy as np
import pytest
from PIL import Image

from datagen.microstructures.voxel_file import voxel_file

GREY = np.array([[10, 10, 200], [10, 200, 200]], dtype=np.uint8)  # two rows down, three columns to the right


def test_an_image_lies_as_one_sees_it(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "cell.png")
    cell = voxel_file(tmp_path / "cell.png", thresholds=[128], spacing=0.5)
    assert cell.grid == (3, 2, 1)
    assert cell.phase[0, :, 1, 0].tolist() == [0, 0, 1]  # the upper row
    assert cell.phase[0, :, 0, 0].tolist() == [0, 1, 1]
    assert cell.spacing == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_pages_of_a_tif_are_stacked_along_z(tmp_path, kind):
    pages = [Image.fromarray((GREY + 5 * k).astype(kind)) for k in range(4)]
    pages[0].save(tmp_path / "cell.tif", save_all=True, append_images=pages[1:])
    cell = voxel_file(tmp_path / "cell.tif", thresholds=[24.5, 128])
    assert cell.grid == (3, 2, 4)
    assert cell.phase[0, 0, 1].tolist() == [0, 0, 0, 1]
    assert cell.phase[0, 2, 1].tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("suffix", ["npy", "h5"])
def test_an_array_keeps_its_axes(tmp_path, suffix):
    phase = np.random.default_rng(0).integers(0, 3, (2, 4, 3, 5)).astype(np.int16)
    path = tmp_path / f"cell.{suffix}"
    if suffix == "npy":
        np.save(path, phase)
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("scan/phase", data=phase, compression="gzip")
    cell = voxel_file(path)
    assert (cell.phase.numpy() == phase).all()


def test_labels_name_the_phase_of_each_value(tmp_path):
    np.save(tmp_path / "cell.npy", GREY)
    cell = voxel_file(tmp_path / "cell.npy", labels={10: 2, 200: 0})
    assert cell.phase[0, :, :, 0].tolist() == [[2, 2, 0], [2, 0, 0]]


def test_a_value_on_a_threshold_belongs_to_the_upper_phase(tmp_path):
    np.save(tmp_path / "cell.npy", np.array([[1.0, 2.0, 3.0]]))
    assert voxel_file(tmp_path / "cell.npy", thresholds=[2.0, 3.0]).phase.flatten().tolist() == [0, 1, 2]


def test_a_mirrored_image_is_periodic(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "cell.png")
    plain, mirrored = (voxel_file(tmp_path / "cell.png", thresholds=[128], mirror=m) for m in (False, True))
    assert mirrored.grid == (6, 4, 1)
    assert (mirrored.phase == plain.mirrored().phase).all()


def test_the_micro_ct_image_has_its_published_fraction(shared):
    cell = voxel_file(shared / "data/fibre_bed_ct/phase.png", thresholds=[128])
    assert cell.grid == (380, 380, 1)
    assert int(cell.phase.sum()) == 83650  # README.md beside the image


def refused(path, match, error=ValueError, **arguments):
    with pytest.raises(error, match=match) as caught:
        voxel_file(path, **arguments)
    assert "\n" not in str(caught.value)


def test_values_that_are_not_phases_are_refused(tmp_path):
    path = tmp_path / "cell.npy"
    np.save(path, GREY)
    refused(path, "got values 10, 200, wanted phase indices")
    refused(path, "labels: got none for the value 200", labels={10: 0})
    refused(path, "wanted integers >= 0", labels={10: 0.5, 200: 1.0})
    refused(path, "thresholds: got", thresholds=[3, 2])
    refused(path, "got both, wanted one", thresholds=[3], labels={0: 0})
    np.save(path, np.array([[0.5, np.nan]]))
    refused(path, "not a finite number", thresholds=[1])
    np.save(path, np.array([["a"]]))
    refused(path, "wanted numbers")


def test_a_file_larger_than_allowed_is_refused_before_it_is_read(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "cell.png")
    refused(tmp_path / "cell.png", "got 3 x 2 x 1 voxels, wanted at most max_voxels = 5", max_voxels=5)
    with h5py.File(tmp_path / "cell.h5", "w") as file:  # chunks that were never written: 8 TB in a few bytes
        file.create_dataset("phase", shape=(10000, 10000, 10000), dtype="f8", chunks=True)
    refused(tmp_path / "cell.h5", "10000 x 10000 x 10000")
    header = {"descr": "<f8", "fortran_order": False, "shape": (10000, 10000, 10000)}
    with (tmp_path / "cell.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    refused(tmp_path / "cell.npy", "cannot be read as an array")


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "cell.npy", np.array([{"phase": 0}], dtype=object), allow_pickle=True)
    refused(tmp_path / "cell.npy", "cannot be read as an array")


def test_broken_and_foreign_files_are_refused(tmp_path):
    refused(tmp_path / "none.png", "no such file", error=FileNotFoundError)
    for name in ("cell.png", "cell.tif", "cell.npy", "cell.h5"):
        (tmp_path / name).write_bytes(b"not what the name says")
        refused(tmp_path / name, f"{name}: cannot be read")
    (tmp_path / "cell.vtk").write_bytes(b"")
    refused(tmp_path / "cell.vtk", "got a .vtk file, wanted .png")
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(tmp_path / "cell.png")
    refused(tmp_path / "cell.png", "got the channels R, G, B, wanted one channel")
    large = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8))
    large.save(tmp_path / "cell.png")
    (tmp_path / "cell.png").write_bytes((tmp_path / "cell.png").read_bytes()[:1000])
    refused(tmp_path / "cell.png", "cannot be read as an image")


def test_the_dataset_of_an_hdf5_file_must_be_clear_and_its_own(tmp_path):
    path = tmp_path / "cell.h5"
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = np.zeros((2, 2), dtype=int), np.zeros((2, 2), dtype=int)
    refused(path, "got the datasets a, b; name one by dataset=")
    refused(path, "got no dataset 'c', wanted one of a, b", dataset="c")
    assert voxel_file(path, dataset="/a").grid == (2, 2, 1)
    (tmp_path / "secret").write_bytes(bytes(32))
    with h5py.File(path, "w") as file:
        file.create_dataset("phase", (2, 2), dtype="i8", external=[(str(tmp_path / "secret"), 0, 32)])
    refused(path, "points to other files")
