"""The conditions of a problem as vectors: which degrees of freedom are held, where they go, and the dead load."""

from __future__ import annotations

import numpy as np
import skfem

from surrogate.macro.assembly import Assembly
from surrogate.macro.boundary import AXES, free_motions
from surrogate.macro.problem import Problem


def supports(problem: Problem, assembly: Assembly) -> tuple[np.ndarray, np.ndarray]:
    """Held degrees of freedom (n_dof,) bool and their displacements at load factor 1 (n_dof,) [mm].

    Raises:
        ValueError: two conditions that contradict each other, or a body that can still move as a rigid one.
    """
    held = np.zeros(assembly.X.shape, dtype=bool)
    values = np.zeros(assembly.X.shape)
    for condition in problem.displacements:
        nodes, i = assembly.nodes_at(condition.where), condition.axis
        given = condition.value(assembly.X[nodes].T) if callable(condition.value) else condition.value
        new = np.broadcast_to(np.asarray(given, dtype=float), nodes.shape)
        clash = held[nodes, i] & (np.abs(values[nodes, i] - new) > 1e-12 * np.ptp(assembly.X))
        if clash.any():
            k = int(np.argmax(clash))
            X = ", ".join(f"{x:g}" for x in assembly.X[nodes[k]])
            raise ValueError(
                f"displacements: node ({X}) gets {AXES[i]}-displacement {new[k]:g} at {condition.where!r} and "
                f"{values[nodes[k], i]:g} from another condition, wanted one value"
            )
        held[nodes, i] = True
        values[nodes, i] = new
    free = free_motions(assembly.X, assembly.element_nodes, held)
    if free:
        raise ValueError(f"displacements: the body is not held, {', '.join(free)} left free; prescribe more components")
    return held.ravel(), values.ravel()


def dead_load(problem: Problem, assembly: Assembly) -> np.ndarray:
    """Nodal forces (n_dof,) of tractions and nodal forces at load factor 1 [N]."""
    load = np.zeros(assembly.X.shape)
    for traction in problem.tractions:
        basis = skfem.FacetBasis(
            problem.mesh, problem.kind.shape, facets=traction.where, intorder=problem.kind.order
        )  # a bilinear traction times a shape function is integrated exactly
        X = np.asarray(basis.global_coordinates())  # (dim, facets, points)
        given = traction.vector(X) if callable(traction.vector) else np.asarray(traction.vector, dtype=float)
        t = np.broadcast_to(np.reshape(given, (*np.shape(given), *[1] * (X.ndim - np.ndim(given)))), X.shape)
        for a, (shape,) in enumerate(basis.basis):
            f = problem.thickness * (shape * t * basis.dx).sum(-1)  # (dim, facets)
            np.add.at(load, basis.element_dofs[a], f.T)
    for force in problem.forces:
        nodes = assembly.nodes_at(force.where)
        load[nodes] += np.asarray(force.vector, dtype=float) / len(nodes)
    return load.ravel()
