"""Crystals under the Cauchy-Born rule: golden numbers, lattice sums, symmetries, inner shifts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.crystals import b2, diamond, fcc, stress_free
from datagen.atoms.embedded_atom import EmbeddedAtom
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.potential import Bonds, Potential
from datagen.atoms.stillinger_weber import StillingerWeber
from datagen.atoms.units import MPA
from datagen.laws.verdict import Verdict
from datagen.tensors import random_rotation
from tests.datagen.atoms.oracle import potential_file

# All golden numbers: LAMMPS 22 July 2025, ../shared/reference/atoms_reference.json; eV/A^3 unless another unit is said.
F_CU = [
    [0.9267551649657366, -0.01813967173593234, -0.004173277324238472, 0.07074509174815591, 1.0287787698969144,
     -0.07766357941518963, 0.005423361486154382, -0.039904240991020815, 0.9891641881290157],
    [0.9994329595339703, 0.054445479277899694, -0.08695876957606881, 0.043436606321015175, 0.9390926814631193,
     -0.015855947492657396, 0.00990719367703416, -0.00953587396738731, 1.0888019733748833],
    [0.9236631103821976, 0.08263162215639352, -0.07451183261430337, 0.038409788883326634, 1.0730913519345548,
     0.056985905958542554, 0.08434386272883734, 0.008174261850971296, 1.04300748867607],
]  # fmt: skip
W_CU = [0.006174134307780521, 0.006622481274802139, 0.005919683946698173]
P_CU = [
    [-0.0782727589765164, 0.036942413583319164, -0.003140252863632124, 0.03389970084979475, -0.05941917024661236,
     -0.05211095559235759, -0.006779640272399767, -0.052913357346681296, -0.07628287467282255],
    [-0.02794167919565937, 0.08115553204400697, -0.020165766692977538, 0.07576316947285001, -0.026788033819196585,
     -0.012154041241184256, -0.019126850023776173, -0.01150168851227261, 0.03754675772493958],
    [-0.002387644189346461, 0.05561032343988991, 0.010321224606088739, 0.06474950243993541, 0.014802521137793538,
     0.011521264954879448, 0.012932621143525213, 0.014427010673091092, 0.028441222328489467],
]  # fmt: skip
F_SI = [
    [1.0285932308542494, 0.005117195580031521, -0.02561118030465618, -0.01655467935220719, 0.9818690197767782,
     -0.01098459888348359, 0.03013006796423605, -0.040919836000832016, 0.9873624392764464],
    [1.0291322900264168, 0.0258671464568362, 0.010397503938027422, -0.036925216718319234, 0.985984468315076,
     0.03708048524974217, 0.047813311695404107, 0.020718114571751517, 0.966087298098539],
    [1.0378522742083591, -0.033810456139420256, -0.016061298654918343, -0.014677743351577177, 0.9888152479737079,
     -0.03840256809169027, -0.03144919407672979, 0.025490405586319417, 0.9575850375774382],
]  # fmt: skip
W_SI = {
    "clamped": [0.0013075584731057355, 0.003016234274178825, 0.0025713247005378914],
    "relaxed": [0.0008317559896399984, 0.0018029393983262088, 0.0016663734800477226],
}
P_SI = {
    "clamped": [
        [0.01129356265197179, -0.007312336493112677, 0.0013873065007986847, -0.008021892138944843,
         -0.011625752178563606, -0.03626534235119673, 0.0019266005700458923, -0.03629058141117899,
         -0.00832790392101293],
        [0.00032877803195266144, -0.012727753572610485, 0.04300791577689333, -0.010580629081555618,
         -0.019734008431152864, 0.0416038669317483, 0.039361468349161925, 0.042409258857976334,
         -0.029212637309924013],
        [0.006842285817723958, -0.03603452546482987, -0.034512611943539266, -0.033892742439638086,
         -0.01676205179939465, -0.012600636424687905, -0.03384271056260242, -0.013251761319442909,
         -0.03070773975623373],
    ],
    "relaxed": [
        [0.012633729180235682, -0.003825838411307621, 0.0013030447666421232, -0.004290517706854782,
         -0.010080156364990465, -0.01893105376384241, 0.0016860031771447144, -0.018801263051822618,
         -0.007254001621355536],
        [0.004248877110519579, -0.003474993920409986, 0.02071539781370065, -0.0025243919202127493,
         -0.016604634819141935, 0.020428366434119178, 0.019304140152911025, 0.021252322534310017,
         -0.02618038304054713],
        [0.009213759870717774, -0.016636754380956128, -0.016463722560197878, -0.015899503473245095,
         -0.014351843911487597, -0.0038869250884196725, -0.016471075300112322, -0.004955588587992187,
         -0.02787663266005861],
    ],
}  # fmt: skip


def lennard_jones() -> LennardJones:
    return LennardJones(0.0104, 3.405, 8.5125, truncation="smooth", inner=6.81)


def stillinger_weber() -> StillingerWeber:
    return StillingerWeber(
        epsilon=2.1683, sigma=2.0951, a=1.8, lmbda=21.0, gamma=1.2, costheta0=-0.333333333333, A=7.049556277,
        B=0.6022245584, p=4, q=0,
    )  # fmt: skip


def copper() -> EmbeddedAtom:
    file = potential_file("Cu_mishin1.eam.alloy")
    if file is None:
        pytest.skip("no file Cu_mishin1.eam.alloy")
    return EmbeddedAtom(file)


def named(choice: str) -> CauchyBorn:
    if choice == "argon":
        return CauchyBorn(lennard_jones(), fcc(5.27, "Ar"))
    if choice == "copper":
        return CauchyBorn(copper(), fcc(3.6, "Cu"))
    return CauchyBorn(stillinger_weber(), diamond(5.4, "Si"), clamped=choice == "clamped silicon")


def random_F(count: int, amplitude: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    change = 2 * torch.rand(count, 9, generator=generator, dtype=torch.float64) - 1
    return torch.eye(3, dtype=torch.float64).flatten() + amplitude * change


def ask(law: CauchyBorn, strain: Tensor):
    return law(strain, law.initial_state(*strain.shape[:-1]), 1.0)


def tangent(law: CauchyBorn, strain: Tensor) -> Tensor:
    return law.tangent(strain, law.initial_state(*strain.shape[:-1]), 1.0)


def cubic(law: CauchyBorn) -> tuple[float, float, float]:
    """C11, C12, C44 [GPa] at the reference."""
    C = tangent(law, law.reference_strain()).reshape(3, 3, 3, 3) / 1e3
    return float(C[0, 0, 0, 0]), float(C[0, 0, 1, 1]), float(C[0, 1, 0, 1])


def check_golden(law: CauchyBorn, F: list, W: list, P: list) -> None:
    step = ask(law, torch.tensor(F, dtype=torch.float64))
    wanted = torch.tensor(P, dtype=torch.float64)
    assert step.verdict.tolist() == [Verdict.GOOD] * len(F)
    assert float((step.stress / MPA - wanted).abs().max()) <= 1e-11 * float(wanted.abs().max())
    assert (step.psi / MPA).tolist() == pytest.approx(W, rel=1e-11)


def test_copper_answers_as_lammps_does():
    law = named("copper")
    assert float(2 * law.crystal.lattice[0, 1]) == pytest.approx(3.6149250658880834, rel=1e-12)
    check_golden(law, F_CU, W_CU, P_CU)
    # Its elastic constants are differences of the stress, good to 1e-5.
    assert cubic(law) == pytest.approx((169.8766908778892, 122.58474660268425, 76.2061532722911), rel=2e-5)


def test_aluminium_is_as_stiff_as_its_table_is_rough():
    file = potential_file("Al_mm.eam.fs")
    if file is None:
        pytest.skip("no file Al_mm.eam.fs")
    law = CauchyBorn(EmbeddedAtom(file), fcc(4.0, "Al"))
    assert float(2 * law.crystal.lattice[0, 1]) == pytest.approx(4.045259793417002, rel=1e-11)
    assert float(law.energy_0) == pytest.approx(-3.4106569537185862, rel=1e-11)
    # The slope of its tabulated force jumps from knot to knot: differences of the stress give 105 to 111 GPa for C11,
    # by the step, and the tangent is theirs for a step of zero.
    assert cubic(law) == pytest.approx((106.23110600956764, 59.306382562606025, 30.47492969628259), rel=0.015)
    F, h = law.reference_strain().repeat(2, 1), 1e-6
    F[:, 0] += torch.tensor([h, -h], dtype=torch.float64)
    P = ask(law, F).stress / 1e3
    assert float(P[0, 0] - P[1, 0]) / (2 * h) == pytest.approx(cubic(law)[0], rel=1e-6)


@pytest.mark.parametrize(
    ("choice", "C44"), [("clamped", 109.75649032427724), ("relaxed", 56.44934101009734)], ids=["clamped", "relaxed"]
)
def test_silicon_answers_as_lammps_does(choice, C44):
    law = named("clamped silicon" if choice == "clamped" else "silicon")
    assert float(2 * law.crystal.lattice[0, 1]) == pytest.approx(5.430949778405213, rel=1e-12)
    check_golden(law, F_SI, W_SI[choice], P_SI[choice])
    assert cubic(law) == pytest.approx((151.4244906679661, 76.42209004982928, C44), rel=2e-7)


def test_sublattices_of_sheared_silicon_shift_by_kleinmans_parameter():
    # u = -zeta a gamma/4 along z at simple shear gamma = 2e-3 in xy, zeta = 0.62895.
    law = named("silicon")
    F = law.reference_strain()
    F[1] = F[3] = 1e-3
    shift = law.shifts(F)
    assert shift.shape == (2, 3)
    assert float(shift[0].abs().max()) == 0.0
    assert float(shift[1, :2].abs().max()) < 1e-6
    assert -abs(float(shift[1, 2])) == pytest.approx(-0.0017079046896379, rel=2e-8)  # -0.0017079046896380482 A
    assert 4 * abs(float(shift[1, 2])) / 5.430949778405213 / 2e-3 == pytest.approx(0.6289524887264086, rel=2e-8)


def test_argon_with_a_shifted_energy_has_lammps_elastic_constants():
    class Accepted(LennardJones):
        """Its force jumps beyond the outermost shell, where no neighbour of the reference crystal is."""

        def __init__(self) -> None:
            super().__init__(0.0104, 3.405, 8.5125, truncation="shifted")
            self.continuous_force = True

    law = CauchyBorn(Accepted(), fcc(5.27, "Ar"))
    assert float(2 * law.crystal.lattice[0, 1]) == pytest.approx(5.276399659024652, rel=1e-12)
    assert cubic(law) == pytest.approx((4.124207886771543, 2.347875881440083, 2.3478758814415372), rel=2e-7)


@pytest.mark.parametrize("choice", ["argon", "copper", "silicon", "clamped silicon"])
def test_stress_is_the_derivative_of_the_energy_to_nine_digits(choice):
    law = named(choice)
    F, h = random_F(3, 0.04, seed=4), 5e-4
    if choice == "copper":  # its table has kinks in the third derivative, and ends 1e-9 eV above zero at the cutoff
        F, h = torch.tensor(F_CU, dtype=torch.float64), 1e-4
    offsets = h * torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64)
    moves = torch.eye(9, dtype=torch.float64)[:, None, None] * offsets[:, None, None]
    W = ask(law, F + moves.expand(9, 4, 3, 9)).psi
    derivative = ((W[:, 0] - W[:, 3] + 8 * (W[:, 2] - W[:, 1])) / (12 * h)).T
    P = ask(law, F).stress
    assert float((derivative - P).abs().max()) <= 1e-9 * float(P.abs().max())


@pytest.mark.parametrize("choice", ["argon", "copper", "silicon"])
def test_a_rotated_crystal_bears_the_rotated_stress(choice):
    law = named(choice)
    F, Q = random_F(5, 0.04), random_rotation(5, generator=torch.Generator().manual_seed(1))
    step, turned = ask(law, F), ask(law, (Q @ F.unflatten(-1, (3, 3))).flatten(-2))
    wanted = (Q @ step.stress.unflatten(-1, (3, 3))).flatten(-2)
    assert float((turned.stress - wanted).abs().max()) <= 1e-12 * float(wanted.abs().max())
    assert float((turned.psi - step.psi).abs().max()) <= 1e-12 * float(step.psi.abs().max())


@pytest.mark.parametrize("choice", ["argon", "silicon"])
def test_material_axes_turn_the_crystal(choice):
    law = named(choice)
    F, Q = random_F(4, 0.04).unflatten(-1, (3, 3)), random_rotation(4, generator=torch.Generator().manual_seed(2))
    turned = law.with_buffers(orientation=Q)
    step, wanted = ask(turned, F.flatten(-2)), ask(law, (Q.mT @ F @ Q).flatten(-2))
    stress = (Q @ wanted.stress.unflatten(-1, (3, 3)) @ Q.mT).flatten(-2)
    assert float((step.stress - stress).abs().max()) <= 1e-12 * float(stress.abs().max())
    A = tangent(law, (Q.mT @ F @ Q).flatten(-2)).unflatten(-1, (3, 3)).unflatten(-3, (3, 3))
    A = torch.einsum("mijkl,mai,mbj,mck,mdl->mabcd", A, Q, Q, Q, Q).reshape(4, 9, 9)
    assert float((tangent(turned, F.flatten(-2)) - A).abs().max()) <= 1e-11 * float(A.abs().max())


@pytest.mark.parametrize("choice", ["argon", "copper", "silicon"])
def test_primitive_and_cubic_cells_agree(choice):
    law = named(choice)
    make, element = (diamond, "Si") if choice == "silicon" else (fcc, {"argon": "Ar", "copper": "Cu"}[choice])
    a = float(2 * law.crystal.lattice[0, 1])
    large = CauchyBorn(law.potential, make(a, element, conventional=True))
    F = random_F(6, 0.03)
    one, many = ask(law, F), ask(large, F)
    assert many.verdict.tolist() == [Verdict.GOOD] * 6
    assert float((many.stress - one.stress).abs().max()) <= 1e-12 * float(one.stress.abs().max())
    assert float((many.psi - one.psi).abs().max()) <= 1e-12 * float(one.psi.abs().max())
    A, B = tangent(law, F), tangent(large, F)
    assert float((A - B).abs().max()) <= 1e-11 * float(A.abs().max())


def test_an_alloy_sums_the_bonds_of_its_kinds():
    epsilon, sigma = [[0.0104, 0.0156], [0.0156, 0.0052]], [[3.405, 2.724], [2.724, 2.9964]]
    cutoff = [[2.5 * x for x in row] for row in sigma]
    potential = LennardJones(epsilon, sigma, cutoff, elements=["A", "B"], masses=[40.0, 30.0])
    law = CauchyBorn(potential, b2(3.6, "A", "B"), clamped=True)
    F = random_F(1, 0.03)[0]
    near, vector = law.crystal.neighbourhood(1.3 * potential.cutoff)
    r = (vector @ F.reshape(3, 3).T).norm(dim=-1)
    wanted = torch.zeros((), dtype=torch.float64)
    for i in range(2):
        for j in range(2):
            alone = LennardJones(epsilon[i][j], sigma[i][j], cutoff[i][j])
            bonds = r[i][near[i] == j]
            along = torch.stack([bonds, 0 * bonds, 0 * bonds], -1)
            other = torch.zeros(1, len(bonds), dtype=torch.int64)
            wanted += alone(Bonds(along[None], torch.zeros(1, dtype=torch.int64), other)).energy.sum()
    W = float(ask(law, F).psi) / MPA + float(law.energy_0) / law.crystal.volume
    assert abs(W * law.crystal.volume / float(wanted) - 1) <= 1e-12


@pytest.mark.parametrize("choice", ["argon", "silicon"])
def test_automatic_differentiation_of_the_energy_gives_the_stress(choice):
    law, F = named(choice), random_F(3, 0.04).requires_grad_()
    step = ask(law, F)
    (gradient,) = torch.autograd.grad(step.psi.sum(), F)
    assert float((gradient - step.stress).detach().abs().max()) <= 1e-11 * float(step.stress.detach().abs().max())


def test_pair_forces_at_zero_stress_obey_the_cauchy_relation():
    _, C12, C44 = cubic(named("argon"))
    assert abs(C12 - C44) <= 1e-12 * C44


def test_a_point_does_not_depend_on_the_list_of_the_others():
    law = named("argon")
    F = random_F(3, 0.05)
    squeezed = 0.55 * torch.eye(3, dtype=torch.float64).flatten()[None]
    alone, together = ask(law, F), ask(law, torch.cat([squeezed, F]))
    assert together.verdict.tolist() == [Verdict.GOOD] * 4
    assert float((together.stress[1:] - alone.stress).abs().max()) <= 1e-13 * float(alone.stress.abs().max())
    far = ask(law, torch.cat([F[:1], 8 * F[:1]]))
    assert far.verdict.tolist() == [Verdict.GOOD] * 2
    assert float(far.stress[1].abs().max()) == 0.0  # no bonds are left


def test_a_crystal_taken_as_given_bears_its_residual_stress():
    potential = lennard_jones()
    free = stress_free(fcc(5.27, "Ar"), potential)
    wide = free.deformed(1.01 * torch.eye(3, dtype=torch.float64))
    law, given = CauchyBorn(potential, free), CauchyBorn(potential, wide, reference="as_given")
    F = random_F(2, 0.02)
    from_wide, from_free = ask(given, F), ask(law, 1.01 * F)
    at_wide = ask(law, 1.01 * law.reference_strain())
    torch.testing.assert_close(from_wide.psi, (from_free.psi - at_wide.psi) / 1.01**3, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(from_wide.stress, from_free.stress / 1.01**2, rtol=1e-11, atol=1e-10)
    assert float(ask(given, given.reference_strain()).stress[0]) > 1.0


def test_inner_atoms_held_on_a_saddle_by_symmetry_are_reported():
    # Wide apart, the planes of the cubic cell would rather move against each other; symmetry asks no force of them.
    law = named("argon")
    large = CauchyBorn(law.potential, fcc(5.27, "Ar", conventional=True))
    F = torch.tensor([1.0, 1.05, 1.25], dtype=torch.float64)[:, None] * law.reference_strain()
    one, many = ask(law, F), ask(large, F)
    assert one.verdict.tolist() == [Verdict.GOOD] * 3
    assert many.verdict.tolist() == [Verdict.GOOD, Verdict.GOOD, Verdict.UNSTABLE]
    assert float((many.stress - one.stress).abs().max()) <= 1e-12 * float(one.stress.abs().max())


def test_inner_atoms_that_pass_negative_curvature_are_reported():
    law = named("silicon")
    F = law.reference_strain().repeat(3, 1)
    F[:, 1] = torch.tensor([0.0, 0.5, 0.6], dtype=torch.float64)
    step = ask(law, F)
    assert step.verdict.tolist() == [Verdict.GOOD, Verdict.GOOD, Verdict.UNSTABLE]
    assert step.stress.isfinite().all()


def test_folded_and_crushed_lattices_have_no_answer():
    law = named("argon")
    F = law.reference_strain().repeat(4, 1)
    F[0, 0], F[1, 0], F[2, 0] = -1.0, 0.0, 0.1
    step = ask(law, F)
    assert step.verdict.tolist() == [Verdict.INVERTED, Verdict.INVERTED, Verdict.CRUSHED, Verdict.GOOD]
    assert step.stress[:3].isnan().all()


@pytest.mark.parametrize("choice", ["argon", "silicon"])
def test_no_points_have_no_answers(choice):
    law = named(choice).testing("phonon", grid=2)
    strain = torch.zeros(0, 9, dtype=torch.float64)
    step, dense = ask(law, strain), tangent(law, strain)
    assert (step.stress.shape, dense.shape) == ((0, 9), (0, 9, 9))
    assert step.extras["wave_vector"].shape == (0, 3)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"potential: got a LennardJones whose force jumps at the cutoff"):
        CauchyBorn(LennardJones(0.0104, 3.405, 8.5125, truncation="shifted"), fcc(5.27, "Ar"))
    with pytest.raises(ValueError, match=r"reference: got 'relaxed', wanted stress_free or as_given"):
        CauchyBorn(lennard_jones(), fcc(5.27, "Ar"), reference="relaxed")
    with pytest.raises(ValueError, match=r"stability: got 'both'"):
        CauchyBorn(lennard_jones(), fcc(5.27, "Ar"), stability="both")
    with pytest.raises(ValueError, match=r"elements: got 'Xe'"):
        CauchyBorn(lennard_jones(), fcc(5.27, "Xe"))


def test_the_law_owns_its_potential():
    assert isinstance(named("argon").potential, Potential)
    assert named("argon").float().dtype == torch.float32
