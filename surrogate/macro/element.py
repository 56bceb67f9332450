"""The finite elements: shape functions, quadrature and VTK cell of each, as data."""

from __future__ import annotations

from dataclasses import dataclass

import skfem


@dataclass(frozen=True)
class Element:
    """A displacement element on scikit-fem's shape functions; a new one is one more of these.

    Args:
        name: as in a config, ``"quad4"``.
        shape: scikit-fem's scalar element, one value a node.
        mesh: scikit-fem's mesh class whose cells it fills; the geometry is interpolated as that class says.
        order: polynomial degree that the tensor Gauss rule integrates exactly: 3 is 2 points a direction, 5 is 3.
        vtk: meshio's name of the cell.
        vtk_order: position in scikit-fem's node order of each of VTK's nodes.
    """

    name: str
    shape: skfem.Element
    mesh: type[skfem.Mesh]
    order: int
    vtk: str
    vtk_order: tuple[int, ...]

    @property
    def dim(self) -> int:
        """Number of space dimensions."""
        return int(self.shape.refdom.dim())


ELEMENTS = {
    element.name: element
    for element in (
        Element("quad4", skfem.ElementQuad1(), skfem.MeshQuad, 3, "quad", (0, 1, 2, 3)),
        Element("quad9", skfem.ElementQuad2(), skfem.MeshQuad, 5, "quad9", tuple(range(9))),
        Element("hex8", skfem.ElementHex1(), skfem.MeshHex, 3, "hexahedron", (0, 3, 6, 2, 1, 5, 7, 4)),
    )
}
"""The elements that ship, by name: quad4 (2x2 Gauss points), quad9 (3x3), hex8 (2x2x2)."""


def element_named(element: str | Element) -> Element:
    """The element of that name, or the element itself; raises ValueError for an unknown name."""
    if isinstance(element, Element):
        return element
    if element not in ELEMENTS:
        raise ValueError(f"element: got {element!r}, wanted one of {', '.join(ELEMENTS)}")
    return ELEMENTS[element]
