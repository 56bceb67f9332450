"""What every potential promises, asked of each that has a config."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor


def test_gradient_is_the_derivative_of_the_energy_by_differences(probe, close) -> None:
    bonds = probe.bonds(2, within=True)
    moves = probe.direction(bonds, 12)
    h = 3e-4 * probe.potential.cutoff / moves.abs().max()
    offsets = h * torch.tensor([-3.0, -2, -1, 1, 2, 3], dtype=torch.float64).reshape(-1, *[1] * moves.dim())
    energy = probe.energy(bonds, bonds.vector + offsets * moves)
    weights = torch.tensor([-1.0, 9, -45, 45, -9, 1], dtype=torch.float64) / (60 * h)
    by_differences = torch.einsum("s,s...->...", weights, energy)
    close((probe.potential(bonds).gradient * moves).sum((-2, -1)), by_differences, probe.tolerance)


def test_gradient_is_the_derivative_of_the_energy_as_it_is_written(probe, close) -> None:
    bonds = probe.bonds(2)
    vector = bonds.vector.clone().requires_grad_()
    (written,) = torch.autograd.grad(probe.energy(bonds, vector).sum(), vector)
    close(probe.potential(bonds).gradient, written, 1e-11)


def test_product_is_the_derivative_of_the_gradient(probe, close) -> None:
    bonds = probe.bonds(2)
    moves = probe.direction(bonds, 3)

    def gradient(vector):
        return probe.potential(bonds._replace(vector=vector)).gradient

    wanted = torch.stack([torch.func.jvp(gradient, (bonds.vector,), (move,))[1] for move in moves])
    got = probe.potential.product(bonds, moves)
    close(got, wanted, 1e-11)
    bonds = probe.bonds(2, within=True)
    # The second derivative of a table has kinks: the step is shorter than its intervals.
    step, tolerance = (3e-4, 1e-9) if probe.tolerance < 1e-8 else (3e-7, 1e-7)
    h = step * probe.potential.cutoff / moves.abs().max()
    values = [gradient(bonds.vector + k * h * moves) for k in (-3, -2, -1, 1, 2, 3)]
    differences = sum(w * v for w, v in zip((-1, 9, -45, 45, -9, 1), values, strict=True)) / (60 * h)
    close(probe.potential.product(bonds, moves), differences, tolerance)


def test_hessian_is_symmetric(probe, close) -> None:
    hessian = probe.potential.hessian(probe.bonds(2))
    assert hessian.shape == (2, probe.n, 3 * probe.K, 3 * probe.K)
    close(hessian, hessian.mT, 1e-12)


def test_bonds_beyond_the_cutoff_change_nothing(probe, close) -> None:
    bonds = probe.bonds(2)
    for length in (1.0, 1.5, probe.potential.far() / probe.potential.cutoff, 1e3):
        far = torch.tensor([0, 0, length * probe.potential.cutoff], dtype=torch.float64).expand(2, probe.n, 4, 3)
        padded = bonds._replace(
            vector=torch.cat([bonds.vector, far], -2),
            other=torch.cat([bonds.other, bonds.own[:, None].expand(-1, 4)], -1),
        )
        plain, more = probe.potential(bonds), probe.potential(padded)
        close(more.energy, plain.energy, 1e-15)
        close(more.gradient[..., : probe.K, :], plain.gradient, 1e-15)
        assert not more.gradient[..., probe.K :, :].any()
        moves = probe.direction(padded, 2)
        product = probe.potential.product(padded, moves)
        close(product[..., : probe.K, :], probe.potential.product(bonds, moves[..., : probe.K, :]), 1e-15)
        assert not product[..., probe.K :, :].any()


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_a_batch_answers_as_its_members_do(probe, close, batch) -> None:
    bonds = probe.bonds(*batch)
    sites = probe.potential(bonds)
    moves = probe.direction(bonds, 2)
    product = probe.potential.product(bonds, moves)
    assert sites.energy.shape == (*batch, probe.n)
    assert sites.gradient.shape == bonds.vector.shape
    assert product.shape == moves.shape
    by_member = bonds._replace(other=bonds.other.expand(*batch, -1, -1))
    close(probe.potential(by_member).gradient, sites.gradient, 1e-15)
    flat, flat_moves = bonds.vector.reshape(-1, probe.n, probe.K, 3), moves.reshape(2, -1, probe.n, probe.K, 3)
    for member, move, energy, gradient, change in zip(
        flat, flat_moves.movedim(1, 0), sites.energy.reshape(-1, probe.n), sites.gradient.reshape(flat.shape),
        product.reshape(flat_moves.shape).movedim(1, 0), strict=True,
    ):  # fmt: skip
        alone = probe.potential(bonds._replace(vector=member))
        close(energy, alone.energy, 1e-14)
        close(gradient, alone.gradient, 1e-14)
        close(change, probe.potential.product(bonds._replace(vector=member), move), 1e-14)


def test_components_may_lie_first_in_memory(probe, close) -> None:
    bonds = probe.bonds(2)
    first = bonds._replace(vector=bonds.vector.movedim(-1, 0).contiguous().movedim(0, -1))
    close(probe.potential(first).energy, probe.potential(bonds).energy, 1e-14)
    close(probe.potential(first).gradient, probe.potential(bonds).gradient, 1e-14)


def test_the_order_of_the_bonds_does_not_matter(probe, close) -> None:
    bonds = probe.bonds(2)
    order = torch.randperm(probe.K, generator=torch.Generator().manual_seed(0))
    turned = bonds._replace(vector=bonds.vector[..., order, :], other=bonds.other[..., order])
    close(probe.potential(turned).energy, probe.potential(bonds).energy, 1e-13)
    close(probe.potential(turned).gradient, probe.potential(bonds).gradient[..., order, :], 1e-13)


def test_turned_bonds_have_the_same_energy_and_turned_gradients(probe, close) -> None:
    bonds, Q = probe.bonds(2), probe.rotation()
    turned = bonds._replace(vector=bonds.vector @ Q.T)
    close(probe.potential(turned).energy, probe.potential(bonds).energy, 1e-12)
    close(probe.potential(turned).gradient, probe.potential(bonds).gradient @ Q.T, 1e-12)
    moves = probe.direction(bonds, 2)
    close(probe.potential.product(turned, moves @ Q.T), probe.potential.product(bonds, moves) @ Q.T, 1e-12)


def test_mirrored_bonds_have_the_same_energy(probe, close) -> None:
    bonds = probe.bonds(2)
    close(probe.energy(bonds, -bonds.vector), probe.potential(bonds).energy, 1e-12)


def test_energy_and_force_fade_at_the_cutoff(probe) -> None:
    if not probe.potential.continuous_force:
        pytest.skip("its force jumps at the cutoff and it says so")
    bonds = probe.bonds()
    near, energies, forces = 0.45 * probe.potential.cutoff, [], []
    for gap in (1e-3, 1e-5, 1e-7):
        vector = bonds.vector / bonds.vector.norm(dim=-1, keepdim=True) * (1 - gap) * probe.potential.cutoff
        lone = bonds._replace(vector=vector)
        scale = probe.potential(bonds._replace(vector=vector / vector.norm(dim=-1, keepdim=True) * near))
        free = probe.energy(bonds, vector * 10)
        energies.append(float((probe.potential(lone).energy - free).abs().max() / scale.energy.abs().max()))
        forces.append(float(probe.potential(lone).gradient.abs().max() / scale.gradient.abs().max()))
    assert energies[-1] <= 1e-8
    assert forces[-1] <= 1e-6
    assert forces[-1] <= 0.1 * forces[0] + 1e-12


def test_an_atom_without_bonds_is_free(probe) -> None:
    bonds = probe.bonds(2)
    lost = bonds._replace(vector=bonds.vector.clone())
    lost.vector[:, 0] *= 1e3
    empty = bonds._replace(vector=bonds.vector[..., :0, :], other=bonds.other[..., :0])
    sites, none = probe.potential(lost), probe.potential(empty)
    product = probe.potential.product(lost, probe.direction(lost, 2))
    assert bool(sites.energy.isfinite().all() and product.isfinite().all())
    assert not sites.gradient[:, 0].any()
    assert not product[:, :, 0].any()
    assert torch.allclose(sites.energy[:, 0], none.energy[:, 0], rtol=0, atol=1e-15)
    assert none.gradient.shape == empty.vector.shape


def test_backward_through_energy_and_product_stays_finite(probe) -> None:
    bonds = probe.bonds(2)
    vector = bonds.vector.clone()
    vector[:, 0] *= 1e3
    vector[:, 1, 0] = torch.tensor([0, 0, probe.potential.cutoff], dtype=torch.float64)
    vector.requires_grad_()
    sites = probe.potential(bonds._replace(vector=vector))
    product = probe.potential.product(bonds._replace(vector=vector), probe.direction(bonds, 1))
    for answer in (sites.energy, sites.gradient, product):
        (back,) = torch.autograd.grad(answer.sum(), vector, retain_graph=True)
        assert bool(back.isfinite().all())


def test_renamed_elements_answer_alike(probe) -> None:
    m = len(probe.potential.elements)
    if m == 1:
        pytest.skip("one element")
    bonds = probe.bonds()
    swapped = bonds._replace(own=(bonds.own + 1) % m, other=(bonds.other + 1) % m)
    assert not torch.allclose(probe.potential(swapped).energy, probe.potential(bonds).energy, rtol=1e-3)
    alike = bonds._replace(own=bonds.own.flip(0), other=bonds.other.flip(0), vector=bonds.vector.flip(0))
    assert torch.allclose(probe.potential(alike).energy.flip(0), probe.potential(bonds).energy, rtol=1e-13)


def test_calls_are_pure(probe) -> None:
    bonds = probe.bonds(2)
    before, vector = probe.potential(bonds), bonds.vector.clone()
    probe.potential(probe.bonds(5, seed=4))
    probe.potential.product(bonds, probe.direction(bonds, 2))
    after = probe.potential(bonds)
    assert torch.equal(before.energy, after.energy)
    assert torch.equal(before.gradient, after.gradient)
    assert torch.equal(vector, bonds.vector)


def test_buffers_are_double_and_move(probe) -> None:
    assert not list(probe.potential.parameters())
    buffers = dict(probe.potential.named_buffers())
    assert all(buffer.dtype in (torch.float64, torch.int64, torch.bool) for buffer in buffers.values())
    bonds = probe.bonds(2)
    for twin in (copy.deepcopy(probe.potential), copy.deepcopy(probe.potential).to("cpu")):
        assert torch.equal(twin(bonds).energy, probe.potential(bonds).energy)
    assert not [name for name, value in vars(probe.potential).items() if isinstance(value, Tensor)], "would stay behind"


def test_a_potential_says_what_it_is(probe) -> None:
    potential = probe.potential
    assert len(potential.elements) == len(potential.masses) >= 1
    assert all(mass > 0 for mass in potential.masses)
    assert 0 < potential.cutoff < 100
    assert potential.far() >= potential.cutoff
    assert potential.species(potential.elements).tolist() == list(range(len(potential.elements)))


def test_an_element_it_does_not_know_is_named(probe) -> None:
    with pytest.raises(ValueError, match=rf"elements: got 'Xx', wanted among {', '.join(probe.potential.elements)}"):
        probe.potential.species((probe.potential.elements[0], "Xx"))
