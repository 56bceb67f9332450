"""What the convex network promises beyond the others, and that a network can learn."""

from __future__ import annotations

import pytest
import torch

from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.neo_hooke import NeoHooke
from surrogate.networks.features import Cone

SYMMETRIES = ("none", "isotropic", "cubic", "orthotropic")


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("polyconvex", [True, False])
@pytest.mark.parametrize("measure", ["finite", "small"])
def test_the_network_is_convex_in_its_arguments(symmetry, polyconvex, measure, bench):
    network = bench.make("convex", measure=measure, symmetry=symmetry, polyconvex=polyconvex).requires_grad_(False)
    x, y = 3 * torch.randn(2, 200, network.n_arguments, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends, middle = [network.network(z, False)[0] for z in (x, y)], network.network((x + y) / 2, False)[0]
    assert (middle <= (ends[0] + ends[1]) / 2 + 1e-12).all()
    assert float(torch.linalg.eigvalsh(network.network(x, True)[2]).min()) > -1e-12


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("measure", ["finite", "small"])
def test_a_polyconvex_energy_does_not_fall_with_convex_arguments(symmetry, measure, bench):
    network = bench.make("convex", measure=measure, symmetry=symmetry).requires_grad_(False)
    x = 3 * torch.randn(200, network.n_arguments, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slope, start = network.network(x, False)[1], 0
    for argument in network.arguments:
        block = slope[:, start : start + len(argument.polynomials)]
        start += len(argument.polynomials)
        if argument.cone is Cone.INCREASING:
            assert (block >= 0).all()
        elif argument.cone is Cone.PSD:
            a11, a22, a33, a23, a13, a12 = block.unbind(-1)
            r = 2**-0.5
            G = torch.stack([a11, r * a12, r * a13, r * a12, a22, r * a23, r * a13, r * a23, a33], -1).unflatten(
                -1, (3, 3)
            )
            assert float(torch.linalg.eigvalsh(G).min()) > -1e-12


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("plane", [True, False])
def test_a_polyconvex_body_is_elliptic_at_every_strain(symmetry, plane, bench):
    components = PLANE_STRAIN[Measure.FINITE] if plane else None
    network = bench.make("convex", symmetry=symmetry, components=components).requires_grad_(False)
    F = bench.strain(network, 400, amplitude=0.5)
    step, saved = network.linearise(F, network.initial_state(400), 1.0)
    a, b = torch.randn(2, 400, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    if plane:
        a[:, 2] = b[:, 2] = 0
    direction = (a[:, :, None] * b[:, None, :]).flatten(1)
    quadratic = (direction * network.apply_tangent(saved, direction))[:, network.columns].sum(-1)
    assert (quadratic[step.verdict < 10] > 0).all()


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_at_small_strain_polyconvex_means_convex_in_strain(symmetry, bench):
    network = bench.make("convex", measure="small", symmetry=symmetry).requires_grad_(False)
    tangent = network.tangent(bench.strain(network, 50, amplitude=0.4), network.initial_state(50), 1.0)
    assert float(torch.linalg.eigvalsh(tangent).min()) > -1e-10 * float(tangent.abs().max())


@pytest.mark.parametrize(
    ("name", "polyconvex", "tolerance"), [("energy", None, 2e-3), ("convex", True, 3e-3), ("convex", False, 3e-3)]
)
def test_a_network_learns_neo_hooke(name, polyconvex, tolerance, bench):
    more = {} if polyconvex is None else {"polyconvex": polyconvex}
    plane = PLANE_STRAIN[Measure.FINITE]
    network = bench.make(name, components=plane, symmetry="isotropic", widths=(12, 12), **more)
    law, F, columns = NeoHooke(mu=1.0, lmbda=2.0), bench.strain(network, 160, amplitude=0.08), network.columns
    P = bench.ask(law, F).stress
    network.calibrate(F, P)
    optimiser = torch.optim.LBFGS(
        network.parameters(), max_iter=250, history_size=50, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )

    def loss():
        optimiser.zero_grad()
        value = ((bench.ask(network, F).stress - P)[:, columns] / network.stress_scale).square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    unseen = bench.strain(network, 200, amplitude=0.06, seed=9)
    with torch.no_grad():
        wanted, got = (bench.ask(x, unseen).stress[:, columns] for x in (law, network))
    assert float((got - wanted).norm() / wanted.norm()) < tolerance
