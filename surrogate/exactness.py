"""What a law promises exactly, measured: each check is one function that works for any law, and returns one number.

A check that makes no sense for a law (objectivity at small strain, energy as a potential for a law with history)
returns None. Only driven components are compared: outside them a law answers nan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from datagen.laws.law import PLANE_STRAIN, Law, Measure, Step
from datagen.tensors import matrix, random_rotation

Loop = Callable[[Tensor], tuple[Tensor, Tensor]]
"""theta (m,) in [0, 2 pi) -> strain and its derivative with respect to theta, (m, n) each; periodic and smooth."""


def parity(x: Tensor, reference: Tensor) -> float:
    """Largest |x - reference| relative to the largest |reference|; 0 if both vanish, nan if one is nan."""
    miss, size = float((x - reference).abs().max()), float(reference.abs().max())
    return miss / size if size > 0 else (0.0 if miss == 0 else math.inf)


def worst(values: Iterable[float]) -> float:
    """The largest; nan if one is nan."""
    found = list(values)
    return math.nan if any(math.isnan(x) for x in found) else max(found)


def objectivity(
    law: Law, strain: Tensor, dt: Tensor | float = 1.0, parameters: Tensor | None = None, seed: int = 0
) -> float | None:
    """Error of frame indifference at finite strain: paths, and the same with every F_k turned by its own rotation Q_k.

    P_k must turn with Q_k; psi, dissipation and history must not change. In-plane rotations for a law of the plane.

    Args:
        law: any law; None is returned at small strain, and for components that are not closed under rotation.
        strain: deformation gradients (b, T, 9) along paths.
        dt: time steps, a number or (b, T).
        parameters: (b, n_parameters) for a law that has them.
        seed: for the rotations.

    Returns:
        The largest `parity` of stress, psi, dissipation and history.
    """
    generator = torch.Generator().manual_seed(seed)
    if law.measure is not Measure.FINITE:
        return None
    if set(law.components) == set(Measure.FINITE.components):
        Q = random_rotation(*strain.shape[:2], generator=generator)
    elif set(law.components) in ({*PLANE_STRAIN[Measure.FINITE]}, {*PLANE_STRAIN[Measure.FINITE], "33"}):
        Q = _plane_rotation(2 * math.pi * torch.rand(strain.shape[:2], generator=generator, dtype=torch.float64))
    else:
        return None
    Q = Q.to(strain)
    columns, h = law.measure.columns(law.components), law.n_history
    times = torch.as_tensor(dt, dtype=strain.dtype, device=strain.device).expand(strain.shape[:2])
    state, turned_state = law.initial_state(len(strain)), law.initial_state(len(strain))
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {"stress": [], "psi": [], "dissipation": [], "history": []}
    for k in range(strain.shape[1]):
        step = _answer(law, strain[:, k], state, times[:, k], parameters)
        turned = _answer(law, _turn(Q[:, k], strain[:, k]), turned_state, times[:, k], parameters)
        state, turned_state = step.state, turned.state
        # P is nan outside the components; there it does not mix into the others, so zero will do.
        stress = _turn(Q[:, k], step.stress.nan_to_num() if len(columns) < 9 else step.stress)
        pairs["stress"].append((turned.stress[:, columns], stress[:, columns]))
        pairs["psi"].append((turned.psi, step.psi))
        pairs["dissipation"].append((turned.dissipation, step.dissipation))
        if h:
            pairs["history"].append((turned_state[:, :h], state[:, :h]))
    stacked = [[torch.stack(list(x)) for x in zip(*pair, strict=True)] for pair in pairs.values() if pair]
    return worst(parity(turned, plain) for turned, plain in stacked)


def reference_state(law: Law, parameters: Tensor | None = None) -> float:
    """Stress and energy of the undeformed body, relative to the largest stiffness: the strain it would spring to."""
    batch = () if parameters is None else parameters.shape[:-1]
    strain, state = law.reference_strain().expand(*batch, law.measure.n), law.initial_state(*batch)
    columns = law.measure.columns(law.components)
    step = _answer(law, strain, state, 1.0, parameters)
    with torch.no_grad():
        stiffness = law.tangent(strain, state, 1.0, parameters)[..., columns, :][..., columns].abs().max()
    miss = torch.maximum(step.stress[..., columns].abs().max(), step.psi.abs().max())
    return float(miss / stiffness)


def stress_is_energy_gradient(law: Law, strain: Tensor, parameters: Tensor | None = None) -> float | None:
    """`parity` of the stress with d psi / d strain by central differences of eighth order.

    Args:
        law: any law; None is returned for one with history, whose energy is no potential of the stress.
        strain: points (b, n).
        parameters: (b, n_parameters) for a law that has them.
    """
    if law.n_history:
        return None
    columns, state = law.measure.columns(law.components), law.initial_state(len(strain))

    def psi(e: Tensor) -> Tensor:
        return _answer(law, e, state, 1.0, parameters).psi[:, None]

    gradient = _jacobian(psi, strain, columns, 0.02 * _amplitude(law, strain), 8)[:, 0]
    return parity(_answer(law, strain, state, 1.0, parameters).stress[:, columns], gradient)


def tangent_is_stress_derivative(
    law: Law,
    strain: Tensor,
    state: Tensor | None = None,
    dt: Tensor | float = 1.0,
    parameters: Tensor | None = None,
) -> float:
    """`parity` of the tangent with central differences of the stress, in the driven rows and columns.

    The differences are of eighth order for a smooth law; for one with history, where a long stencil would cross the
    yield surface, of second order with a step of 1e-5 of the strain, which leaves about 1e-9.

    Args:
        law: any law.
        strain: points (b, n).
        state: state at the start of the step, default the initial one.
        dt: time step.
        parameters: (b, n_parameters) for a law that has them.
    """
    columns = law.measure.columns(law.components)
    state = law.initial_state(len(strain)) if state is None else state

    def stress(e: Tensor) -> Tensor:
        return _answer(law, e, state, dt, parameters).stress[:, columns]

    step, order = (1e-5, 2) if law.n_history else (0.02, 8)
    numeric = _jacobian(stress, strain, columns, step * _amplitude(law, strain), order)
    with torch.no_grad():
        exact = law.tangent(strain, state, dt, parameters)[:, columns][:, :, columns]
    return parity(exact, numeric)


def closed_loop_work(
    law: Law,
    amplitude: float = 0.1,
    loops: int | Sequence[Loop] = 4,
    parameters: Tensor | None = None,
    seed: int = 0,
) -> float | None:
    r"""Work of an elastic law around a closed loop, relative to the peak energy on it; the largest of several loops.

    W = \oint s . e'(theta) d theta with e' analytic, by the equidistant rule, which converges exponentially on a smooth
    periodic integrand. The number of points doubles from 64 until W moves by less than 1e-13 of the peak energy, or
    reaches 4096. (Trapezoidal work on 100 points misses 1e-4 even for the exact law.)

    Args:
        law: any law; None is returned for one with history, which dissipates.
        amplitude: half the diameter of the default loops, strain [-].
        loops: how many random ellipses through the reference state, or loops of one's own.
        parameters: (n_parameters,) for a law that has them.
        seed: for the random loops.
    """
    if law.n_history:
        return None
    chosen = _ellipses(law, amplitude, loops, seed) if isinstance(loops, int) else loops
    return worst(_loop_work(law, loop, parameters) for loop in chosen)


def _loop_work(law: Law, loop: Loop, parameters: Tensor | None) -> float:
    columns, before, m = law.measure.columns(law.components), math.inf, 64
    while True:
        theta = 2 * math.pi / m * torch.arange(m, dtype=torch.float64, device=law.device)
        strain, rate = loop(theta)
        every = None if parameters is None else parameters.expand(m, -1)
        step = _answer(law, strain, law.initial_state(m), 1.0, every)
        work = float((step.stress[:, columns] * rate[:, columns]).sum() * (2 * math.pi / m))
        peak = float(step.psi.abs().max())
        if not abs(work - before) > 1e-13 * peak or m == 4096:
            return abs(work) / peak
        before, m = work, 2 * m


def _ellipses(law: Law, amplitude: float, count: int, seed: int) -> list[Loop]:
    """e(theta) = e_ref + amplitude (sin theta A + (1 - cos theta) B) / 2, A and B random unit directions."""
    generator = torch.Generator().manual_seed(seed)
    columns = law.measure.columns(law.components)
    loops: list[Loop] = []
    for _ in range(count):
        directions = torch.zeros(2, law.measure.n, dtype=torch.float64)
        directions[:, columns] = torch.randn(2, len(columns), dtype=torch.float64, generator=generator)
        directions = 0.5 * amplitude * directions / directions.norm(dim=-1, keepdim=True)
        loops.append(partial(_ellipse, law.reference_strain(), *directions.to(law.device)))
    return loops


def _ellipse(start: Tensor, A: Tensor, B: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    sin, cos = theta.sin()[:, None], theta.cos()[:, None]
    return start + sin * A + (1 - cos) * B, cos * A + sin * B


# Central differences: coefficients of f(x + k h) - f(x - k h), k = 1, 2, ...
_STENCILS = {2: (1 / 2,), 8: (4 / 5, -1 / 5, 4 / 105, -1 / 280)}


def _jacobian(f: Callable[[Tensor], Tensor], x: Tensor, columns: list[int], h: float, order: int) -> Tensor:
    """Derivative of f in these columns, (b, p, len(columns)), of f: (b, n) -> (b, p)."""
    out = []
    for j in columns:
        unit = torch.zeros_like(x[0])
        unit[j] = h
        differences = [c * (f(x + k * unit) - f(x - k * unit)) for k, c in enumerate(_STENCILS[order], 1)]
        out.append(torch.stack(differences).sum(0) / h)
    return torch.stack(out, -1)


def _amplitude(law: Law, strain: Tensor) -> float:
    """Root mean square of |strain - reference|, at least 1e-6."""
    return max(1e-6, float((strain - law.reference_strain()).square().sum(-1).mean().sqrt()))


def _answer(law: Law, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None) -> Step:
    with torch.no_grad():
        return law(strain, state, dt, parameters)


def _turn(Q: Tensor, A: Tensor) -> Tensor:
    """Q A for A (b, 9) row-major."""
    return (Q @ A.unflatten(-1, (3, 3))).flatten(-2)


def _plane_rotation(angle: Tensor) -> Tensor:
    """Rotations about z."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return matrix([c, -s, zero, s, c, zero, zero, zero, one])
