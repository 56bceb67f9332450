"""Products with the stiffness, block by block, against the plain definition; Krylov methods against dense solves."""

import itertools
import math

import pytest
import torch

from datagen.laws.cubic_elastic import CubicElastic
from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Law, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.microstructures.microstructure import Microstructure
from datagen.rve import batch as batch_module
from datagen.rve.batch import Batch
from datagen.rve.homogenised import HomogenisedCell
from datagen.rve.krylov import bicgstab, conjugate_gradients, dot
from datagen.tensors import MANDEL, random_rotation

ELASTIC = [LinearElastic(E=1.0, nu=0.3), LinearElastic(E=10.0, nu=0.2), LinearElastic(E=3.0, nu=0.4)]
PLASTIC = [J2Plasticity(E=1.0, nu=0.3, yield_stress=2e-3, hardening=0.05), LinearElastic(E=10.0, nu=0.3)]
RUBBER = [NeoHooke(mu=1.0, lmbda=4.0), NeoHooke(mu=20.0, lmbda=80.0)]
CRYSTAL = [CubicElastic(C11=168.0, C12=121.0, C44=75.0)]
GAUSS = (0.5 - 0.5 / math.sqrt(3), 0.5 + 0.5 / math.sqrt(3))


def random_phases(grid: tuple[int, int, int], n: int, samples: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n, (samples, *grid), generator=generator)


CASES: dict[str, tuple[list[Law], tuple[int, int, int], str, dict[str, object]]] = {
    "isotropic": (ELASTIC, (5, 4, 3), "hex8", {}),
    "isotropic, one ratio": ([ELASTIC[0], LinearElastic(E=9.0, nu=0.3)], (5, 4, 3), "hex8", {}),
    "isotropic, reduced": (ELASTIC, (5, 4, 3), "hex8r", {}),
    "isotropic, bounded": (ELASTIC, (4, 3, 5), "hex8", {"boundary": "linear_displacement"}),
    "isotropic, plane": (ELASTIC, (5, 4, 1), "hex8", {"components": PLANE_STRAIN[Measure.SMALL]}),
    "polycrystal": (CRYSTAL * 3, (5, 4, 3), "hex8", {}),
    "plastic": (PLASTIC, (5, 4, 3), "hex8", {}),
    "plastic, plane": (PLASTIC, (5, 4, 1), "hex8", {"components": PLANE_STRAIN[Measure.SMALL]}),
    "hyperelastic": (RUBBER, (5, 4, 3), "hex8", {}),
    "hyperelastic, plane": (RUBBER, (5, 4, 1), "hex8r", {"components": PLANE_STRAIN[Measure.FINITE]}),
}


def make(name: str, samples: int = 1) -> HomogenisedCell:
    laws, grid, discretisation, options = CASES[name]
    axes = None
    if name == "polycrystal":
        generator = torch.Generator().manual_seed(4)
        axes = random_rotation(*([samples] if samples > 1 else []), len(laws), generator=generator)
    phases = random_phases(grid, len(laws), samples)
    cells = Microstructure(phases if samples > 1 else phases[0], (0.3, 0.2, 0.25), orientations=axes)
    return HomogenisedCell(cells, laws, discretisation, **options)  # type: ignore[arg-type]


def loaded(cell: HomogenisedCell, samples: int = 1, seed: int = 1) -> tuple[Batch, torch.Tensor]:
    """A batch of two members away from equilibrium, and its fluctuation."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int, size: float) -> torch.Tensor:
        return size * torch.randn(*shape, generator=generator, dtype=torch.float64)

    k, Q, V = cell._points
    columns = cell.measure.columns(cell.components)
    strain = cell.reference_strain().repeat(2, 1)
    strain[:, columns] += noise(2, len(columns), size=4e-3)
    history = torch.zeros(k, Q, 2, V, dtype=torch.float64)
    sample = torch.arange(2) % samples
    batch = Batch(cell.system, strain, history, torch.ones(2, dtype=torch.float64), sample)
    return batch, noise(cell._fluctuation[0], 2, *cell._fluctuation[1:], size=2e-4)


def plainly(cell: HomogenisedCell, batch: Batch, u: torch.Tensor, p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Residual and K p as defined: node by node through the element shape functions, dense tangents, no blocks."""
    d, B = u.shape[:2]
    grid, nodes, h = cell.microstructure.grid, u.shape[2:], cell.microstructure.spacing
    n_dim = 2 if grid[2] == 1 else 3
    points = GAUSS if cell.system.discretisation.n_quad > 1 else (0.5,)
    residual, product = torch.zeros_like(u), torch.zeros_like(p)
    voxels = list(itertools.product(*map(range, grid)))
    corners = [c + (0,) * (3 - n_dim) for c in itertools.product((0, 1), repeat=n_dim)]
    weight = 1 / (len(points) ** n_dim * len(voxels))
    ends = torch.tensor([[[(a + c) % n for a, c, n in zip(x, e, nodes, strict=True)] for x in voxels] for e in corners])
    where = ends.unbind(-1)  # three of (corners, V)
    phase = cell.microstructure.phase[batch.sample].flatten(1)
    for x in itertools.product(points, repeat=n_dim):
        shape = torch.ones(len(corners), n_dim, dtype=torch.float64)
        for (c, corner), j, a in itertools.product(enumerate(corners), range(n_dim), range(n_dim)):
            shape[c, j] *= (2 * corner[a] - 1) / h[a] if a == j else (x[a] if corner[a] else 1 - x[a])
        gradient = torch.zeros(2, B, len(voxels), 3, 3, dtype=torch.float64)
        for k, field in enumerate((u, p)):
            gradient[k, ..., :d, :n_dim] = torch.einsum("ibcv,cj->bvij", field[:, :, *where], shape)
        if cell.measure is Measure.SMALL:
            scale = [1.0] * 3 + [math.sqrt(0.5)] * 3
            both = 0.5 * (gradient + gradient.transpose(-1, -2))
            change = torch.stack([both[..., i, j] * (1 if i == j else math.sqrt(2)) for i, j in MANDEL], -1)
        else:
            change = gradient.flatten(-2)
        strain = change[0] + batch.strain[:, None]
        stress, rate = torch.empty_like(strain), torch.empty_like(strain)
        for b, v in itertools.product(range(B), range(len(voxels))):
            law = cell.system.phases.laws[int(phase[b, v])]
            if cell.microstructure.orientations is not None:
                turns = cell.microstructure.orientations[batch.sample[b], phase[b, v]]
                law = law.with_buffers(orientation=turns @ law.get_buffer("orientation"))
            step, saved = law.linearise(strain[b, v], law.initial_state(), 1.0)
            stress[b, v] = step.stress
            rate[b, v] = law.dense(saved) @ change[1, b, v]
        for out, field in ((residual, stress), (product, rate)):
            if cell.measure is Measure.SMALL:
                full = torch.empty(B, len(voxels), 3, 3, dtype=torch.float64)
                for k, (i, j) in enumerate(MANDEL):
                    full[..., i, j] = full[..., j, i] = field[..., k] * scale[k]
            else:
                full = field.unflatten(-1, (3, 3))
            forces = weight * torch.einsum("bvij,cj->ibcv", full[..., :d, :n_dim], shape)
            for i, b in itertools.product(range(d), range(B)):
                out[i, b].index_put_(tuple(where), forces[i, b], accumulate=True)
    return residual, product


def check(cell: HomogenisedCell, samples: int = 1) -> Batch:
    batch, u = loaded(cell, samples)
    p = loaded(cell, samples, seed=2)[1]
    residual, product = plainly(cell, batch, u, p)
    now = batch.evaluate(u)
    assert (now.residual - residual).abs().max() <= 1e-14 * residual.abs().max()
    answer = batch.operator()(p)
    assert (answer - product).abs().max() <= 1e-14 * product.abs().max()
    return batch


@pytest.mark.parametrize("size", [1, 2**13])
@pytest.mark.parametrize("name", CASES)
def test_the_blockwise_operator_is_the_plain_one(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(batch_module.POINTS, "cpu", size)
    monkeypatch.setitem(batch_module.VOXELS, "cpu", size)
    batch = check(make(name))
    assert (batch.elements is not None) == name.startswith(("isotropic", "polycrystal"))


@pytest.mark.parametrize("name", ["isotropic", "polycrystal", "plastic"])
def test_each_member_has_its_own_microstructure(name: str) -> None:
    check(make(name, samples=2), samples=2)


@pytest.mark.parametrize("name", ["isotropic", "polycrystal", "plastic", "plastic, plane", "hyperelastic"])
def test_directions_of_one_member_are_multiplied_as_if_alone(name: str) -> None:
    cell = make(name)
    batch, u = loaded(cell)
    batch.evaluate(u)
    operator = batch.operator()
    p, q = loaded(cell, seed=2)[1], loaded(cell, seed=3)[1]
    together = operator(torch.cat([p, q], 1))
    assert torch.allclose(together, torch.cat([operator(p), operator(q)], 1), rtol=1e-13, atol=1e-16)
    unit = batch.strain.new_zeros(cell.measure.n, 1, 2)
    forces = operator.respond(p, unit)[0]
    assert torch.allclose(forces, operator(p), rtol=1e-12, atol=1e-15)


def test_micro_work_is_the_mean_product_of_both_fields() -> None:
    # The definition, with both fields written out: <1/2 (P_0 + P_1) : (F_1 - F_0)>.
    cell = make("hyperelastic")
    batch, u = loaded(cell)
    u_0, strain_0 = 0.5 * loaded(cell, seed=2)[1], loaded(cell, seed=3)[0].strain
    stress, strain = [], []
    for F_bar, v in ((strain_0, u_0), (batch.strain, u)):
        gradient = cell.system.discretisation.gradient(v)
        strain.append(cell.system.kinematics.strain(gradient, F_bar.T))
        points = cell.system.phases.bind(batch.sample)
        stress.append(points.linearise(strain[-1], batch.state, batch.dt[:, None])[0].stress)
    mean, change = 0.5 * (stress[0] + stress[1]), strain[1] - strain[0]
    micro = (mean * change).sum(0).mean((0, 2))
    macro = (mean.mean((1, 3)) * (batch.strain - strain_0).T).sum(0)
    size = 0.5 * ((stress[0].norm(dim=0) + stress[1].norm(dim=0)) * change.norm(dim=0)).mean((0, 2))
    work, defect = batch.work(batch.evaluate(u), u, strain_0, u_0)
    assert torch.allclose(work, micro, rtol=1e-12, atol=1e-16)
    assert torch.allclose(defect, (macro - micro).abs() / size, rtol=1e-9, atol=1e-12)


def dense_system(symmetric: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Matrices A (3, n, n), an energy matrix M (n, n) and right-hand sides (3, n)."""
    generator = torch.Generator().manual_seed(5)
    n = 24
    A, M = torch.randn(3, n, n, generator=generator, dtype=torch.float64), torch.randn(n, n, generator=generator)
    A = A @ A.transpose(-1, -2) / n + 0.5 * torch.eye(n)
    if not symmetric:
        A = A + 0.3 * torch.randn(3, n, n, generator=generator, dtype=torch.float64) / math.sqrt(n)
    M = M.double() @ M.double().T / n + torch.eye(n)
    return A, M, torch.randn(3, n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("method", [conjugate_gradients, bicgstab])
def test_a_krylov_method_solves_as_a_dense_solver_does(method: object) -> None:
    A, M, b = dense_system(symmetric=method is conjugate_gradients)

    def nodal(x: torch.Tensor) -> torch.Tensor:  # (B, n) to (d, B, nx, ny, nz)
        return x.reshape(3, 3, 4, 2, 1).movedim(1, 0)

    def flat(x: torch.Tensor) -> torch.Tensor:
        return x.movedim(0, 1).reshape(3, -1)

    def apply(p: torch.Tensor) -> torch.Tensor:
        return nodal(torch.einsum("bij,bj->bi", A, flat(p)))

    def precondition(r: torch.Tensor) -> torch.Tensor:
        return nodal(flat(r) @ M)

    load = nodal(b)
    energy = dot(load, precondition(load)).sqrt()
    target = energy * torch.tensor([1e-3, 1e-12, 2.0])  # loose, tight, nothing to do
    solved = method(apply, precondition, load.clone(), target, 500)  # type: ignore[operator]
    assert solved.converged.all()
    assert solved.iterations[2] == 0
    assert solved.iterations[0] < solved.iterations[1]
    residual = load - apply(solved.x)
    norm = dot(residual, precondition(residual)).sqrt()
    assert (norm <= 1.01 * target).all()  # the energy norm, and the true residual
    exact = torch.linalg.solve(A, b)
    assert torch.allclose(flat(solved.x)[1], exact[1], rtol=1e-9, atol=1e-10)
    cut = method(apply, precondition, load.clone(), target, 4)  # type: ignore[operator]
    assert not cut.converged[1]
