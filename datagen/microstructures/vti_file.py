"""Image data of VTK (.vti), as DAMASK writes its grids."""

from __future__ import annotations

import base64
import binascii
import lzma
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

import numpy as np

from datagen.microstructures.microstructure import Microstructure
from datagen.microstructures.voxel_file import check_size, one_line, to_phases

_TYPES = {
    "Int8": "i1",
    "Int16": "i2",
    "Int32": "i4",
    "Int64": "i8",
    "UInt8": "u1",
    "UInt16": "u2",
    "UInt32": "u4",
    "UInt64": "u8",
    "Float32": "f4",
    "Float64": "f8",
}
_BYTES_PER_VOXEL = 256  # of the file, all its arrays together; an array in ASCII takes up to 24
_HEADER = 2**24  # bytes of a file beside its arrays
_LZMA_MEMORY = 2**28  # bytes that unpacking a block may take


class _Encoding(NamedTuple):
    """What the first line of the file and its last section say about the arrays in it."""

    order: Literal["<", ">"]
    header: np.dtype  # of the numbers that stand before an array
    compressor: str
    appended: bytes
    raw: bool  # the appended arrays are bytes as they are, not base64


def vti_file(
    path: str | Path,
    array: str = "material",
    thresholds: Sequence[float] | None = None,
    labels: Mapping[int, int] | None = None,
    scale: float = 1.0,
    max_voxels: int = 2**27,
) -> Microstructure:
    """Read a microstructure from image data in VTK's XML format: ASCII, base64 or raw, also compressed.

    The voxels are the cells of the image; if the array is one of its points, they are the points. Values become phases
    by thresholds or by labels, as in `voxel_file`; with neither they must be phase indices 0, 1, ... without holes.

    Args:
        path: of the file.
        array: name of the array with one number a voxel; DAMASK calls it ``material``.
        thresholds: increasing values; a voxel's phase is the number of thresholds that are <= its value.
        labels: value to phase index, for every value in the array.
        scale: millimetres in a unit of length of the file: 1000 for the metres of DAMASK.
        max_voxels: largest number of voxels to read, checked against the file's header before memory is taken.

    Returns:
        The cell, with the spacing of the file and the descriptor ``origin`` (1, 3) [mm], its corner.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is not image data, is larger than ``max_voxels``, broken, rotated or compressed by other
            than zlib or lzma, or whose values do not become phases; an array that is not there.

    Reference:
        VTK File Formats, https://docs.vtk.org/en/latest/vtk_file_formats/vtkxml_file_format.html.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if not 0 < scale < math.inf:
        raise ValueError(f"scale: got {scale}, wanted millimetres in a unit of the file > 0")
    if path.stat().st_size > _BYTES_PER_VOXEL * max_voxels + _HEADER:
        raise ValueError(f"{path}: got {path.stat().st_size} bytes, wanted no more than max_voxels = {max_voxels} need")
    try:
        values, origin, spacing = _read(path, array, max_voxels)
    except (ElementTree.ParseError, KeyError, UnicodeError, binascii.Error, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path}: cannot be read as VTK image data: {one_line(error)}") from error
    if values.dtype.kind == "f" and bool((np.abs(values) < 2**53).all()) and bool((values == values.round()).all()):
        values = values.astype(np.int64)  # labels that were written as floating-point numbers
    phase = to_phases(path, values, thresholds, labels)
    return Microstructure(phase, [scale * h for h in spacing], descriptors={"origin": scale * np.array([origin])})


def _read(path: Path, array: str, max_voxels: int) -> tuple[np.ndarray, list[float], list[float]]:
    """Values (nx, ny, nz) of the array, origin and spacing."""
    root, encoding = _parse(path)
    image = root.find("ImageData")
    if root.tag != "VTKFile" or image is None:
        raise ValueError(f"{path}: cannot be read as VTK image data: got <{root.tag} type={root.get('type')!r}>")
    whole = _numbers(path, image, "WholeExtent", 6)
    origin, spacing = _numbers(path, image, "Origin", 3), _numbers(path, image, "Spacing", 3)
    axes = np.eye(3).ravel().tolist()
    direction = _numbers(path, image, "Direction", 9) if image.get("Direction") else axes
    if not np.allclose(direction, axes, atol=1e-12):
        raise ValueError(f"{path}: got an image rotated by {direction}, wanted axes along x, y and z")
    pieces = image.findall("Piece")
    kind = next((k for k in ("CellData", "PointData") if all(_array(p, k, array) is not None for p in pieces)), None)
    if kind is None or not pieces:
        there = dict.fromkeys(
            e.get("Name", "") for p in pieces for k in ("CellData", "PointData") for e in p.iterfind(f"{k}/DataArray")
        )
        raise ValueError(f"{path}: got no array {array!r}, wanted one of {', '.join(there) or 'none'}")
    first, shape = _box(path, whole, kind)
    check_size(path, shape, max_voxels)
    values: np.ndarray | None = None
    missing = np.ones(shape, dtype=bool)
    for piece in pieces:
        start, part = _box(path, _numbers(path, piece, "Extent", 6), kind)
        low = [a - b for a, b in zip(start, first, strict=True)]
        if any(a < 0 or a + n > m for a, n, m in zip(low, part, shape, strict=True)):
            raise ValueError(f"{path}: got a piece that reaches beyond the image")
        element = _array(piece, kind, array)
        assert element is not None
        read = _values(path, element, math.prod(part), encoding).reshape(part, order="F")
        values = np.zeros(shape, read.dtype) if values is None else values
        box = tuple(slice(a, a + n) for a, n in zip(low, part, strict=True))
        values[box], missing[box] = read, False
    assert values is not None
    if missing.any():
        raise ValueError(f"{path}: got pieces without {int(missing.sum())} of the {missing.size} voxels, wanted all")
    return values, origin, spacing


def _parse(path: Path) -> tuple[ElementTree.Element, _Encoding]:
    """The XML tree without its appended section, which need not be XML, and how the arrays are encoded."""
    text = path.read_bytes()
    start = text.find(b"<AppendedData")
    appended, raw = b"", False
    if start >= 0:
        tag, _, rest = text[start:].partition(b">")
        raw = b"raw" in tag
        appended = rest[rest.find(b"_") + 1 :]
        text = text[:start] + b"</VTKFile>"
    if b"<!" in text.replace(b"<!--", b""):
        raise ValueError(f"{path}: cannot be read as VTK image data: got declarations, wanted plain XML")
    root = ElementTree.fromstring(text)
    orders: dict[str, Literal["<", ">"]] = {"LittleEndian": "<", "BigEndian": ">"}
    order = orders[root.get("byte_order", "LittleEndian")]
    header = np.dtype(order + {"UInt32": "u4", "UInt64": "u8"}[root.get("header_type", "UInt32")])
    return root, _Encoding(order, header, root.get("compressor", ""), appended, raw)


def _numbers(path: Path, element: ElementTree.Element, name: str, count: int) -> list[float]:
    try:
        numbers = [float(word) for word in element.get(name, "").split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{path}: got {name}={element.get(name)!r}, wanted {count} numbers")
    return numbers


def _box(path: Path, extent: Sequence[float], kind: str) -> tuple[list[int], tuple[int, ...]]:
    """First index and number of voxels along each axis of an extent, which counts points."""
    low, high = [int(e) for e in extent[::2]], [int(e) for e in extent[1::2]]
    shape = tuple(b - a + (kind == "PointData") for a, b in zip(low, high, strict=True))
    if min(shape) < 1:
        raise ValueError(f"{path}: got an extent {[int(e) for e in extent]}, wanted voxels along each axis")
    return low, shape


def _array(piece: ElementTree.Element, kind: str, name: str) -> ElementTree.Element | None:
    return next((e for e in piece.iterfind(f"{kind}/DataArray") if e.get("Name") == name), None)


def _values(path: Path, element: ElementTree.Element, count: int, encoding: _Encoding) -> np.ndarray:
    name, components = element.get("Name"), element.get("NumberOfComponents", "1")
    if components not in ("", "0", "1"):
        raise ValueError(f"{path}: got {components} numbers a voxel in {name!r}, wanted one")
    dtype = np.dtype(_TYPES[element.get("type", "")]).newbyteorder(encoding.order)
    wanted = count * dtype.itemsize
    if element.get("format") == "ascii":
        words = (element.text or "").split()
        if len(words) != count:
            raise ValueError(f"{path}: got {len(words)} values in {name!r}, wanted {count}")
        try:
            return np.array(words).astype(dtype.newbyteorder("="))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{path}: got values in {name!r} that are no numbers: {one_line(error)}") from error
    if element.get("format") == "appended":
        (offset,) = _numbers(path, element, "offset", 1)
        stored, raw = encoding.appended[max(int(offset), 0) :], encoding.raw
    else:
        stored, raw = (element.text or "").strip().encode("ascii"), False
    found = _unpacked(path, stored, raw, wanted, encoding)
    if len(found) != wanted:
        raise ValueError(f"{path}: got {len(found)} bytes in {name!r}, wanted {wanted}")
    return np.frombuffer(found, dtype).astype(dtype.newbyteorder("="))


def _unpacked(path: Path, stored: bytes, raw: bool, wanted: int, encoding: _Encoding) -> bytes:
    """At most ``wanted`` bytes of an array; what announces another number is not unpacked.

    Uncompressed: a number of bytes, then the bytes. Compressed: the number of blocks, the size of each, that of a last
    shorter one (0 if there is none), the compressed sizes; then the blocks, apart from the header in base64.
    """
    width = encoding.header.itemsize

    def take(position: int, n_bytes: int) -> bytes:
        if raw:
            return stored[position : position + n_bytes]
        return base64.b64decode(stored[position : position + 4 * -(-n_bytes // 3)], validate=True)[:n_bytes]

    def header(n: int) -> list[int]:
        found = take(0, n * width)
        if len(found) < n * width:
            raise ValueError(f"{path}: got an array that ends early")
        return np.frombuffer(found, encoding.header).tolist()

    if not encoding.compressor:
        (size,) = header(1)
        if size != wanted:
            raise ValueError(f"{path}: got an array of {size} bytes, wanted {wanted}")
        return take(0, width + wanted)[width:]
    blocks, block, last = header(3)
    full = blocks - 1 if last else blocks
    if not 0 < blocks <= wanted or block < 1 or full * block + last != wanted:
        raise ValueError(f"{path}: got an array of {full * block + last} bytes, wanted {wanted}")
    sizes = header(3 + blocks)[3:]
    begin = (3 + blocks) * width
    body = stored[begin:][: sum(sizes)] if raw else take(4 * -(-begin // 3), sum(sizes))
    parts, position = [], 0
    for index, size in enumerate(sizes):
        limit = last if last and index == blocks - 1 else block
        parts.append(_decompressed(path, body[position : position + size], limit, encoding.compressor))
        position += size
    return b"".join(parts)


def _decompressed(path: Path, packed: bytes, limit: int, compressor: str) -> bytes:
    if compressor == "vtkZLibDataCompressor":
        return zlib.decompressobj().decompress(packed, limit)
    if compressor == "vtkLZMADataCompressor":
        return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(packed, limit)
    raise ValueError(f"{path}: got data compressed by {compressor}, wanted vtkZLibDataCompressor or no compression")
