"""Image data of VTK. The files in vti/ were written by VTK 9.7.2 and, damask.vti, by the Python package damask 3.1."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from datagen.microstructures.vti_file import vti_file

FILES = Path(__file__).with_name("vti")
I, J, K = np.meshgrid(range(4), range(3), range(2), indexing="ij")
MATERIAL = (I + 2 * J + 3 * K + I * J * K) % 4


@pytest.mark.parametrize("file", sorted(FILES.glob("*.vti")), ids=lambda file: file.stem)
def test_files_of_vtk_in_every_encoding_are_read(file):
    cell = vti_file(file, scale=1000.0)
    assert np.array_equal(cell.phase[0].numpy(), MATERIAL)
    origin, spacing = ((1e-3, 0, 0), (1e-2,) * 3) if file.stem == "damask" else ((1e3, 2e3, 3e3), (500, 250, 125))
    assert cell.spacing == pytest.approx(spacing, rel=1e-12)
    assert cell.descriptors["origin"][0].tolist() == pytest.approx(origin, rel=1e-12)


def image(arrays: str, extent: str = "0 4 0 3 0 2", head: str = "", tail: str = "") -> str:
    return (
        f'<?xml version="1.0"?><VTKFile type="ImageData" version="0.1" byte_order="LittleEndian" {head}>'
        f'<ImageData WholeExtent="{extent}" Origin="0 0 0" Spacing="1 1 1">{arrays}</ImageData>{tail}</VTKFile>'
    )


def piece(content: str, extent: str = "0 4 0 3 0 2", kind: str = "Int32", form: str = "ascii", more: str = "") -> str:
    return (
        f'<Piece Extent="{extent}"><CellData><DataArray type="{kind}" Name="material" format="{form}" {more}>{content}'
        f"</DataArray></CellData></Piece>"
    )


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "cell.vti"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def words(values: np.ndarray) -> str:
    return " ".join(str(v) for v in values.flatten(order="F"))


def test_pieces_are_put_together(tmp_path):
    two = piece(words(MATERIAL[:3]), "0 3 0 3 0 2") + piece(words(MATERIAL[3:]), "3 4 0 3 0 2")
    assert np.array_equal(vti_file(written(tmp_path, image(two))).phase[0].numpy(), MATERIAL)
    with pytest.raises(ValueError, match="got pieces without 6 of the 24 voxels"):
        vti_file(written(tmp_path, image(piece(words(MATERIAL[:3]), "0 3 0 3 0 2"))))
    with pytest.raises(ValueError, match="a piece that reaches beyond the image"):
        vti_file(written(tmp_path, image(piece(words(MATERIAL), "1 5 0 3 0 2"))))


def test_values_become_phases_by_thresholds_and_labels(tmp_path):
    path = written(tmp_path, image(piece(words(MATERIAL * 10 + 0.5), kind="Float64")))
    assert np.array_equal(
        vti_file(path, thresholds=[5, 25]).phase[0].numpy(), np.digitize(MATERIAL * 10 + 0.5, [5, 25])
    )
    path = written(tmp_path, image(piece(words(MATERIAL * 10))))
    labels = {0: 1, 10: 0, 20: 1, 30: 2}
    assert np.array_equal(vti_file(path, labels=labels).phase[0].numpy(), np.array([1, 0, 1, 2])[MATERIAL])
    with pytest.raises(ValueError, match="wanted phase indices"):
        vti_file(path)


def blocks(*numbers: int, body: bytes) -> str:
    head = struct.pack(f"<{len(numbers)}I", *numbers)
    return base64.b64encode(head).decode() + base64.b64encode(body).decode()


def plain(size: int, body: bytes) -> str:
    return base64.b64encode(struct.pack("<I", size) + body).decode()


def test_what_a_header_announces_is_checked_before_it_is_believed(tmp_path):
    zipped = 'compressor="vtkZLibDataCompressor"'
    bomb = zlib.compress(bytes(10**7))
    for text, message in (
        (image(piece("", "0 9999 0 9999 0 9999"), "0 9999 0 9999 0 9999"), "9999 x 9999 x 9999 voxels, wanted at most"),
        (image(piece("0 1 2")), "got 3 values in 'material', wanted 24"),
        (image(piece("0 1 x " * 8)), "that are no numbers"),
        (image(piece(plain(2**31, bytes(96)), form="binary")), "an array of 2147483648 bytes, wanted 96"),
        (image(piece(plain(96, bytes(50)), form="binary")), "got 50 bytes in 'material', wanted 96"),
        (
            image(piece(blocks(1, 10**7, 0, len(bomb), body=bomb), form="binary"), head=zipped),
            "10000000 bytes, wanted 96",
        ),
        (image(piece(blocks(2, 0, 96, len(bomb), 0, body=bomb), form="binary"), head=zipped), "wanted 96"),
        (image(piece(blocks(2**30, 96, 0, 9, body=bomb), form="binary"), head=zipped), "bytes, wanted 96"),
        (
            image(piece(blocks(1, 96, 0, 50, body=bytes(50)), form="binary"), head=zipped),
            "cannot be read as VTK image data",
        ),
        (image(piece(blocks(1, 96, 0, len(bomb), body=bomb[:9]), form="binary"), head=zipped), "wanted 96"),
        (image(piece("AAAA", form="binary")), "an array that ends early"),
        (image(piece("not base64!!", form="binary")), "cannot be read as VTK image data"),
        (image(piece("", form="appended", more='offset="99"')), "an array that ends early"),
        (image(piece("", form="appended", more='offset="x"')), "got offset='x'"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            vti_file(written(tmp_path, text))
        assert "\n" not in str(caught.value)


def test_a_block_that_unpacks_to_more_than_it_says_is_cut_there(tmp_path):
    bomb = zlib.compress(bytes(10**7))
    head = 'compressor="vtkZLibDataCompressor"'
    path = written(tmp_path, image(piece(blocks(1, 96, 0, len(bomb), body=bomb), form="binary"), head=head))
    assert not vti_file(path).phase.any()


def test_foreign_and_broken_files_are_refused(tmp_path):
    good = image(piece(words(MATERIAL)))
    entity = good.replace('<?xml version="1.0"?>', '<!DOCTYPE a [<!ENTITY b "c">]>')
    for text, message in (
        ("not what the name says", "cannot be read as VTK image data"),
        ("<VTKFile type='UnstructuredGrid'></VTKFile>", "got <VTKFile type='UnstructuredGrid'>"),
        (entity, "got declarations, wanted plain XML"),
        (good[:-9], "cannot be read as VTK image data"),
        (good.replace("Int32", "Int33"), "cannot be read as VTK image data"),
        (good.replace("material", "grain"), "got no array 'material', wanted one of grain"),
        (good.replace('format="ascii"', 'format="ascii" NumberOfComponents="3"'), "got 3 numbers a voxel"),
        (good.replace("Spacing", 'Direction="0 1 0 1 0 0 0 0 1" Spacing'), "wanted axes along x, y and z"),
        (good.replace('Spacing="1 1 1"', 'Spacing="1 1"'), "got Spacing='1 1', wanted 3 numbers"),
        (good.replace("0 4 0 3 0 2", "0 4 0 3 0 0"), "wanted voxels along each axis"),
        (good.replace("0 4 0 3 0 2", "0 4 0 3 0 inf"), "got WholeExtent"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            vti_file(written(tmp_path, text))
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such file"):
        vti_file(tmp_path / "none.vti")
    with pytest.raises(ValueError, match="scale: got 0"):
        vti_file(written(tmp_path, good), scale=0)
    with pytest.raises(ValueError, match="got 4 x 3 x 2 voxels, wanted at most max_voxels = 23"):
        vti_file(written(tmp_path, good), max_voxels=23)
    lz4 = (FILES / "inline_zlib_blocks.vti").read_text().replace("vtkZLib", "vtkLZ4")
    with pytest.raises(ValueError, match="compressed by vtkLZ4DataCompressor, wanted vtkZLibDataCompressor"):
        vti_file(written(tmp_path, lz4))
