"""What every elastic network promises by construction, before it has learned anything."""

from __future__ import annotations

import copy
import json
import math
import pickle

import pytest
import torch

from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.plane_stress import PlaneStress
from datagen.laws.verdict import Verdict
from datagen.tensors import inv, to_mandel

BATCHES = [(), (1,), (2, 3)]


def relative(x, reference):
    return float((x - reference).detach().abs().max() / reference.detach().abs().max())


def stiffness(law):
    tangent = law.tangent(law.reference_strain(), law.initial_state(), 1.0).detach()
    return float(tangent[law.columns][:, law.columns].abs().max())


def test_undeformed_body_is_stress_free(network, bench):
    step = bench.ask(network, network.reference_strain().expand(3, -1))
    assert step.verdict.tolist() == [Verdict.GOOD] * 3
    assert float(step.stress[:, network.columns].detach().abs().max()) <= 1e-15 * stiffness(network)
    assert float(step.psi.detach().abs().max()) <= 1e-15 * stiffness(network)


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_stress_is_the_derivative_of_the_energy_and_tangent_that_of_the_stress(network, bench, batch):
    strain = bench.strain(network, *batch).requires_grad_()
    step = bench.ask(network, strain)
    assert step.psi.shape == step.verdict.shape == step.extras["distance"].shape == batch
    (gradient,) = torch.autograd.grad(step.psi.sum(), strain, retain_graph=True)
    assert relative(step.stress[..., network.columns], gradient[..., network.columns]) < 1e-12
    rows = [torch.autograd.grad(step.stress[..., k].sum(), strain, retain_graph=True)[0] for k in network.columns]
    tangent = network.tangent(strain.detach(), network.initial_state(*batch), 1.0)
    assert tangent.shape == (*batch, network.measure.n, network.measure.n)
    assert relative(tangent[..., network.columns, :], torch.stack(rows, -2)) < 1e-11


def test_derivatives_are_exact_in_the_reference_state_and_where_stretches_coincide(network, bench):
    strain = bench.coalescent(network).requires_grad_()
    step = bench.ask(network, strain)
    (gradient,) = torch.autograd.grad(step.psi.sum(), strain, retain_graph=True)
    assert relative(step.stress[:, network.columns], gradient[:, network.columns]) < 1e-12
    rows = [torch.autograd.grad(step.stress[:, k].sum(), strain, retain_graph=True)[0] for k in network.columns]
    tangent = network.tangent(strain.detach(), network.initial_state(4), 1.0)
    assert relative(tangent[:, network.columns], torch.stack(rows, -2)) < 1e-11


def test_tangent_is_the_central_difference_of_the_stress(network, bench):
    strain, columns, h = bench.strain(network, 4), network.columns, 1e-5
    numeric = []
    for j in columns:
        step = h * torch.eye(network.measure.n, dtype=torch.float64)[j]
        ahead, behind = bench.ask(network, strain + step).stress, bench.ask(network, strain - step).stress
        numeric.append((ahead - behind)[:, columns] / (2 * h))
    tangent = network.tangent(strain, network.initial_state(4), 1.0)[:, columns][:, :, columns]
    assert relative(tangent, torch.stack(numeric, -1)) < 1e-7


def test_tangent_is_symmetric(network, bench):
    tangent = network.tangent(bench.strain(network, 4), network.initial_state(4), 1.0)
    tangent = tangent[:, network.columns][:, :, network.columns]
    assert relative(tangent.transpose(-1, -2), tangent) < 1e-13


def test_linearise_answers_as_forward_does(network, bench):
    strain = bench.strain(network, 2, 3)
    step, saved = network.linearise(strain, network.initial_state(2, 3), 1.0)
    assert relative(step.stress[..., network.columns], bench.ask(network, strain).stress[..., network.columns]) < 1e-14
    assert saved.shape[:-1] == (2, 3)
    assert not network.apply_tangent(saved, torch.zeros_like(strain))[..., network.columns].any()


def test_a_batch_answers_as_its_members_do(network, bench):
    strain = bench.strain(network, 2, 3)
    step = bench.ask(network, strain)
    for i in range(2):
        for j in range(3):
            alone = bench.ask(network, strain[i, j])
            assert relative(alone.stress[network.columns], step.stress[i, j, network.columns]) < 1e-12
            assert relative(alone.psi, step.psi[i, j]) < 1e-12


def test_the_observer_does_not_matter(network, bench):
    if network.measure is Measure.SMALL:
        pytest.skip("small strain has no rotations")
    strain, Q = bench.strain(network, 5), bench.rotations(network, 5)
    step = bench.ask(network, strain)
    turned = bench.ask(network, (Q @ strain.unflatten(-1, (3, 3))).flatten(-2))
    stress = (Q @ step.stress.nan_to_num().unflatten(-1, (3, 3))).flatten(-2)
    assert relative(turned.psi, step.psi) < 1e-12
    assert relative(turned.stress[:, network.columns], stress[:, network.columns]) < 1e-12


def group_of(network, bench):
    """Rotations under which the material is the same, that keep the strain in its plane."""
    if network.symmetry == "isotropic":
        return bench.rotations(network, 6, seed=3)
    half_turns = [torch.diag(torch.tensor(d, dtype=torch.float64)) for d in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1])]
    if network.symmetry == "orthotropic":
        return torch.stack(half_turns)
    quarter = torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    third = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    more = [] if len(network.strain_components) == 3 else [third, third @ quarter, third @ third]
    return torch.stack([*half_turns, quarter, *more])


def test_a_symmetric_material_does_not_notice_its_own_symmetry(network, bench):
    if network.symmetry == "none":
        pytest.skip("no symmetry")
    for Q in group_of(network, bench):
        strain = bench.strain(network, 5)
        same = bench.in_rotated_material(network, strain, Q)
        assert relative(bench.ask(network, same).psi, bench.ask(network, strain).psi) < 1e-12


def test_a_material_without_a_symmetry_does_notice_it(bench):
    for name in ("energy", "convex"):
        isotropic, cubic, orthotropic, none = (
            bench.make(name, symmetry=s) for s in ("isotropic", "cubic", "orthotropic", "none")
        )
        for network, other in ((cubic, isotropic), (orthotropic, cubic), (none, orthotropic)):
            strain = bench.strain(network, 5)
            same = bench.in_rotated_material(network, strain, group_of(other, bench)[-1])
            assert relative(bench.ask(network, same).psi, bench.ask(network, strain).psi) > 1e-4


def test_energy_grows_without_bound_as_the_body_is_crushed_or_torn(network, bench):
    if network.measure is Measure.SMALL:
        pytest.skip("finite strain only")
    stretch = torch.logspace(0.5, 3, 6, dtype=torch.float64)
    first, second = network.measure.columns(("11", "22"))
    ratios = {
        "crushed": (1 / stretch, 1.0),
        "torn": (stretch, 1.0),
        "drawn": (stretch, 1 / stretch),
        "blown": (stretch,) * 2,
    }
    for way, pair in ratios.items():
        strain = network.reference_strain().repeat(6, 1)
        strain[:, first], strain[:, second] = pair
        psi = bench.ask(network, strain).psi.detach()
        assert psi[-3] < psi[-2] < psi[-1], way
        assert float(psi[-1] / psi[-2]) > 5.0, way


def test_a_fold_has_no_answer_and_spoils_no_neighbour(plane_network, bench):
    network = plane_network
    strain = bench.strain(network, 3)
    alone = bench.ask(network, strain)
    strain[1, 0] = -1.0
    strain[2, 4] = torch.nan
    step = bench.ask(network, strain)
    assert step.verdict[1:].tolist() == [Verdict.INVERTED, Verdict.NOT_FINITE]
    assert step.psi[1:].isnan().all()
    assert step.stress[1:].isnan().all()
    assert torch.allclose(step.stress[0, network.columns], alone.stress[0, network.columns], rtol=1e-13)
    loss = step.psi[:1].sum() + step.stress[0, network.columns].sum()
    assert all(
        g.isfinite().all()
        for g in torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
        if g is not None
    )


def test_work_around_a_closed_loop_is_nothing(plane_network, bench):
    network, m = plane_network, 64
    generator = torch.Generator().manual_seed(1)
    A, B = torch.zeros(2, 9, dtype=torch.float64)
    A[network.columns], B[network.columns] = 0.2 * torch.randn(2, 4, dtype=torch.float64, generator=generator)
    theta = (2 * math.pi / m) * torch.arange(m, dtype=torch.float64)[:, None]
    step = bench.ask(network, network.reference_strain() + theta.sin() * A + (1 - theta.cos()) * B)
    rate = theta.cos() * A + theta.sin() * B
    work = (step.stress * rate)[:, network.columns].sum() * (2 * math.pi / m)
    assert abs(float(work.detach())) < 1e-8 * float(step.psi.detach().abs().max())


def test_components_that_were_not_asked_for_are_ignored_and_not_answered(plane_network, bench):
    network = plane_network
    strain = bench.strain(network, 2)
    noisy = strain.clone()
    others = [k for k in range(9) if k not in network.columns]
    noisy[:, others] += torch.tensor([0.3, torch.nan, 0.1, 0.2, 0.1], dtype=torch.float64)
    step, saved = network.linearise(noisy, network.initial_state(2), 1.0)
    assert torch.equal(step.stress[:, network.columns], bench.ask(network, strain).stress[:, network.columns])
    assert step.stress[:, others].isnan().all()
    product = network.apply_tangent(saved, noisy - network.reference_strain())
    assert product[:, others].isnan().all()
    assert product[:, network.columns].isfinite().all()


def test_a_network_is_the_same_for_the_same_seed(plane_network):
    before = torch.random.get_rng_state()
    arguments = plane_network.hyperparameters
    one, two, other = (type(plane_network)(**{**arguments, "seed": seed}) for seed in (3, 3, 4))
    weights, twin, stranger = (torch.cat([p.flatten() for p in n.parameters()]) for n in (one, two, other))
    assert torch.equal(weights, twin)
    assert not torch.equal(weights, stranger)
    assert torch.equal(before, torch.random.get_rng_state())


def test_weights_scales_and_domain_make_a_round_trip(network, bench):
    arguments = json.loads(json.dumps(network.hyperparameters))
    other = type(network)(**arguments)
    other.load_state_dict(copy.deepcopy(network.state_dict()))
    strain = bench.strain(network, 4, amplitude=0.3)
    one, two = bench.ask(network, strain), bench.ask(other, strain)
    assert torch.equal(one.psi, two.psi)
    assert torch.equal(one.verdict, two.verdict)
    assert torch.equal(bench.ask(pickle.loads(pickle.dumps(network)), strain).psi, one.psi)


def test_losses_on_stress_and_tangent_differentiate_with_respect_to_the_weights(plane_network, bench):
    network = plane_network
    strain, V = bench.strain(network, 6), bench.strain(network, 6, seed=5) - network.reference_strain()
    weights = list(network.parameters())
    generator = torch.Generator().manual_seed(2)
    along = [torch.randn(w.shape, dtype=torch.float64, generator=generator) for w in weights]

    def loss():
        step, saved = network.linearise(strain, network.initial_state(6), 1.0)
        product = network.apply_tangent(saved, V)
        return (step.stress[:, network.columns] ** 2).sum() + step.psi.sum() + product[:, network.columns].sum()

    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(loss(), weights), along, strict=True))
    values = []
    for h in (1e-5, -2e-5):
        with torch.no_grad():
            for w, d in zip(weights, along, strict=True):
                w.add_(h * d)
        values.append(loss())
    assert abs(float(((values[0] - values[1]) / 2e-5 - slope).detach())) < 1e-7 * abs(float(slope))


class Flat(torch.nn.Module):
    """A law as exporters take it: tensors in, a tuple of tensors out."""

    def __init__(self, law):
        super().__init__()
        self.law = law

    def forward(self, strain, state):
        step, saved = self.law.linearise(strain, state, 1.0)
        return step.psi, step.stress, self.law.dense(saved), step.verdict


@pytest.mark.parametrize(("name", "measure"), [("energy", Measure.FINITE), ("convex", Measure.SMALL)])
def test_a_network_passes_through_export(name, measure, bench):
    network = bench.make(name, measure=measure.value, components=PLANE_STRAIN[measure], symmetry="orthotropic")
    network.requires_grad_(False)
    strain = bench.strain(network, 5)
    any_number = torch.export.Dim("points", min=2, max=4096)
    exported = torch.export.export(
        Flat(network), (strain, network.initial_state(5)), dynamic_shapes=({0: any_number}, {0: any_number})
    )
    more = bench.strain(network, 9, seed=3)
    for got, wanted in zip(
        exported.module()(more, network.initial_state(9)), Flat(network)(more, network.initial_state(9)), strict=True
    ):
        assert torch.allclose(got, wanted, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_a_trained_range_is_a_range(plane_network, bench):
    network = plane_network
    rim = bench.strain(network, 200, amplitude=0.1, seed=1)
    network.calibrate(rim, rim)
    step = bench.ask(network, rim)
    assert step.verdict.unique().tolist() == [Verdict.GOOD]
    assert not step.extras["distance"].any()
    beyond = network.reference_strain() + 3.0 * (rim - network.reference_strain())
    step = bench.ask(network, beyond)
    outside = step.extras["distance"] > network.margin
    assert outside.any()
    assert step.verdict[outside].unique().tolist() == [Verdict.OUTSIDE_RANGE]
    assert step.stress[outside][:, network.columns].isfinite().all()


def test_the_range_treats_stretch_and_shortening_alike(bench):
    network = bench.make("energy")
    F = bench.strain(network, 50).unflatten(-1, (3, 3))
    C = F.transpose(-1, -2) @ F
    e = network.objective_strain(network.increment(F.flatten(-2)))[0]
    wanted = to_mandel((C - inv(C)) / 4)
    assert torch.allclose(network.range_strain(e), wanted, atol=1e-13)
    stretch = torch.diag(torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)).matrix_exp()
    pair = [network.objective_strain(network.increment(U.flatten()))[0] for U in (stretch, inv(stretch))]
    assert torch.allclose(network.range_strain(pair[0]), -network.range_strain(pair[1]), atol=1e-14)


def test_training_may_be_in_single_precision_but_a_mixture_is_refused(plane_network, bench):
    network = plane_network
    strain = bench.strain(network, 3)
    exact = bench.ask(network, strain).stress[:, network.columns]
    with pytest.raises(TypeError, match=r"strain: got torch\.float32, wanted torch\.float64"):
        bench.ask(network, strain.float())
    network.float()
    assert relative(bench.ask(network, strain.float()).stress[:, network.columns].double(), exact) < 1e-4
    network.double()
    assert relative(bench.ask(network, strain).stress[:, network.columns], exact) < 1e-4


def test_plane_stress_wraps_a_network(bench):
    network = bench.make("convex", measure="small", symmetry="isotropic").requires_grad_(False)
    sheet = PlaneStress(network)
    strain = bench.strain(sheet, 3, amplitude=0.02)
    step = bench.ask(sheet, strain)
    strain[:, 2] = step.extras["strain_33"]
    assert float(bench.ask(network, strain).stress[:, 2].abs().max()) < 1e-9 * float(step.stress[:, :2].abs().max())


def test_what_cannot_be_a_network_is_refused(bench):
    wrong = {
        "measure": ("large", "measure: got 'large', wanted 'small' or 'finite'"),
        "components": (["14"], "components: got '14'"),
        "symmetry": ("hexagonal", "symmetry: got 'hexagonal', wanted one of none"),
        "widths": ([], r"widths: got \[\], wanted"),
        "growth": (0.0, r"growth: got 0.0, wanted a weight > 0"),
    }
    for name in ("energy", "convex"):
        for argument, (value, message) in wrong.items():
            with pytest.raises(ValueError, match=message):
                bench.make(name, **{argument: value})


def test_data_that_say_nothing_are_refused(plane_network):
    reference = plane_network.reference_strain().expand(4, -1)
    with pytest.raises(ValueError, match="got 4 finite rows, wanted strain and stress beyond zero"):
        plane_network.calibrate(reference, torch.ones(4, 9, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"wanted \(N, 9\) twice"):
        plane_network.calibrate(reference[:, :6], reference[:, :6])
