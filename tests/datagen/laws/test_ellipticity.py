"""Loss of ellipticity against closed forms: waves in crystals, a neo-Hookean body, bands in a plastic one."""

from __future__ import annotations

import math

import pytest
import torch

from datagen.laws.cubic_elastic import CubicElastic
from datagen.laws.ellipticity import lowest_acoustic_eigenvalue
from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from datagen.paths.drive import drive
from datagen.paths.path import LoadPath
from datagen.tensors import det, isotropic_stiffness, mandel_rotation, random_rotation, to_mandel

SMALL, FINITE = Measure.SMALL, Measure.FINITE


def elastic_tangent(law, *batch):
    return law.tangent(torch.zeros(*batch, 6, dtype=torch.float64), law.initial_state(*batch), 1.0)


@pytest.mark.parametrize(("lmbda", "mu"), [(3.0, 2.0), (-3.0, 2.0), (-5.0, 2.0)])
def test_an_isotropic_solid_is_elliptic_as_long_as_both_wave_moduli_are_positive(lmbda, mu):
    # The eigenvalues of Q(N) are mu, mu and lmbda + 2 mu for every N.
    C = isotropic_stiffness(torch.tensor(lmbda, dtype=torch.float64), torch.tensor(mu, dtype=torch.float64))
    value, direction = lowest_acoustic_eigenvalue(C, SMALL)
    assert float(value) == pytest.approx(min(mu, lmbda + 2 * mu), rel=1e-13)
    assert float(direction.norm()) == pytest.approx(1, rel=1e-14)


# Slowest waves of a cubic crystal (Nye 1985; Auld, Acoustic Fields and Waves in Solids, 1973, section 7D): along [110]
# with vibrations along [1-10] at (C11 - C12)/2 if the Zener ratio 2 C44/(C11 - C12) is above one, else C44 along [100].
@pytest.mark.parametrize(
    ("C11", "C12", "C44", "slowest", "cosines"),
    [
        (168400.0, 121400.0, 75400.0, 23500.0, [0, math.sqrt(0.5), math.sqrt(0.5)]),  # copper, ratio 3.2
        (350000.0, 67800.0, 100800.0, 100800.0, None),  # chromium, ratio 0.71: C44 in all of the plane (100)
    ],
)
def test_the_slowest_wave_of_a_cubic_crystal_is_the_known_shear(C11, C12, C44, slowest, cosines):
    Q = random_rotation(20, generator=torch.Generator().manual_seed(3))
    law = CubicElastic(C11=C11, C12=C12, C44=C44).with_buffers(orientation=Q)
    value, direction = lowest_acoustic_eigenvalue(elastic_tangent(law, 20), SMALL)
    assert value.tolist() == pytest.approx([slowest] * 20, rel=1e-11)
    in_crystal = (Q.mT @ direction[..., None])[..., 0].abs().sort(dim=-1).values
    if cosines is not None:
        assert float((in_crystal - torch.tensor(cosines, dtype=torch.float64)).abs().max()) < 1e-5


def test_a_dilated_neo_hookean_body_loses_ellipticity_where_its_closed_form_does():
    # Q(N) = mu 1 + (mu + lmbda (1 - ln J)) a x a, a = F^-T N (insert m x N into the tangent of Bonet and Wood 2008,
    # section 6.4.3): the lowest eigenvalue is mu, or mu + (mu + lmbda (1 - ln J))/smallest stretch^2 if that is less.
    mu, lmbda = 1.0, 4.0
    law = NeoHooke(mu=mu, lmbda=lmbda)
    noise = torch.randn(60, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    F = torch.cat([1.9 * torch.eye(3, dtype=torch.float64) + 0.3 * noise, 0.7 * torch.eye(3)[None].double()])
    F = F[det(F) > 0.1]
    tangent = law.tangent(F.flatten(-2), law.initial_state(len(F)), 1.0)
    slope = mu + lmbda * (1 - det(F).log())
    wanted = mu + slope.clamp(max=0) / torch.linalg.svdvals(F)[:, -1] ** 2
    assert int((wanted < 0).sum()) > 10
    assert int((wanted > 0).sum()) > 10
    value, direction = lowest_acoustic_eigenvalue(tangent, FINITE)
    scale = tangent.abs().amax((-2, -1))
    assert bool(((value - wanted).abs() <= 1e-11 * scale).all())
    # The band's normal is the direction of the smallest stretch in the reference configuration.
    smallest = torch.linalg.svd(F).Vh[:, -1]
    turned = 1 - (direction * smallest).sum(-1).abs()
    assert float(turned[slope < -1].max()) < 1e-9


def band(N_II, nu):
    """Stress deviator of intermediate value N_II (of |s|/sqrt 2 = 1), critical h/G and angle (Rudnicki and Rice)."""
    root = math.sqrt(1 - 0.75 * N_II**2)
    s = [-N_II / 2 + root, N_II, -N_II / 2 - root]
    xi = -N_II * (1 - nu)
    angle = math.atan(math.sqrt((xi - s[2]) / (s[0] - xi)))
    return s, -(1 + nu) / 2 * N_II**2, angle


@pytest.mark.parametrize("N_II", [0.0, 0.2, -0.4])
def test_bands_form_in_a_softening_von_mises_body_at_the_critical_modulus_and_angle(N_II):
    # J. W. Rudnicki, J. R. Rice, J. Mech. Phys. Solids 23 (1975) 371, doi:10.1016/0022-5096(75)90001-0, their
    # critical modulus and angle without friction and dilatancy: h/G = -(1 + nu)/2 N^2, tan^2 angle = (xi - s_III)/
    # (s_I - xi), xi = -N (1 - nu); the angle between the band's normal and s_III, in the plane of s_I and s_III.
    # Plane strain of an incompressible body has N = 0: bands at 45 degrees at h = 0.
    nu, G = 0.3, 80000.0
    s, critical, angle = band(N_II, nu)
    assert sum(s) == pytest.approx(0, abs=1e-15)
    assert sum(x * x for x in s) == pytest.approx(2, rel=1e-14)
    Q = random_rotation(generator=torch.Generator().manual_seed(5))
    normal = to_mandel(Q @ torch.diag(torch.tensor(s, dtype=torch.float64)) @ Q.T) / math.sqrt(2)
    C = isotropic_stiffness(*(torch.tensor(m, dtype=torch.float64) for m in (2 * G * nu / (1 - 2 * nu), G)))

    def at(h):  # continuum tangent of von Mises plasticity, d tau = h d gamma_p
        return lowest_acoustic_eigenvalue(C - 2 * G / (1 + h) * torch.outer(normal, normal), SMALL)

    value, direction = at(critical)
    assert abs(float(value)) < 1e-11 * G
    assert float(at(critical + 1e-3)[0]) > 1e-5 * G
    assert float(at(critical - 1e-3)[0]) < -1e-5 * G
    cosines = (Q.T @ direction).abs()
    assert cosines.tolist() == pytest.approx([math.sin(angle), 0.0, math.cos(angle)], abs=2e-5)


def test_uniaxial_tension_puts_the_band_of_a_von_mises_body_on_a_cone():
    # Axisymmetric extension, N = -1/sqrt(3): h/G = -(1 + nu)/6 (Rudnicki and Rice 1975, as above).
    nu = 0.3
    s, critical, angle = band(-1 / math.sqrt(3), nu)
    assert critical == pytest.approx(-(1 + nu) / 6, rel=1e-14)
    normal = to_mandel(torch.diag(torch.tensor(s, dtype=torch.float64))) / math.sqrt(2)
    C = isotropic_stiffness(*(torch.tensor(m, dtype=torch.float64) for m in (2 * nu / (1 - 2 * nu), 1.0)))
    value, direction = lowest_acoustic_eigenvalue(C - 2 / (1 + critical) * torch.outer(normal, normal), SMALL)
    assert abs(float(value)) < 1e-11
    assert float(direction[0].abs()) == pytest.approx(math.sin(angle), abs=2e-5)


def test_turning_the_body_turns_the_direction_and_keeps_the_value():
    generator = torch.Generator().manual_seed(2)
    A = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    A = A @ A.T
    M = mandel_rotation(random_rotation(12, generator=generator))
    value, _ = lowest_acoustic_eigenvalue(M @ A @ M.mT, SMALL)
    assert value.tolist() == pytest.approx([float(value[0])] * 12, abs=1e-11 * float(A.abs().max()))


def test_no_direction_on_a_fine_grid_is_lower():
    generator = torch.Generator().manual_seed(7)
    A = torch.randn(4, 9, 9, dtype=torch.float64, generator=generator)  # no symmetry at all
    value, direction = lowest_acoustic_eigenvalue(A, FINITE)
    N = torch.nn.functional.normalize(torch.randn(20000, 3, dtype=torch.float64, generator=generator), dim=-1)
    N = torch.cat([N, direction])
    Q = torch.einsum("bijkl,nj,nl->bnik", A.reshape(4, 3, 3, 3, 3), N, N)
    lowest = torch.linalg.eigvalsh(0.5 * (Q + Q.mT))[..., 0]
    assert bool((value <= lowest.amin(1) + 1e-12).all())
    assert lowest[range(4), range(20000, 20004)].tolist() == pytest.approx(value.tolist(), abs=1e-12)


@pytest.mark.parametrize("measure", [SMALL, FINITE], ids=str)
def test_in_the_plane_only_what_is_known_there_is_asked(measure):
    # A law driven in plane strain leaves other columns unknown. Isotropic: min(mu, lmbda + 2 mu) in the plane too.
    if measure is SMALL:
        tangent = elastic_tangent(LinearElastic(E=210.0, nu=0.3), 2)
        wanted = 210.0 / 2.6
    else:
        law = NeoHooke(mu=1.0, lmbda=4.0)
        F = torch.diag(torch.tensor([2.0, 2.5, 1.0], dtype=torch.float64)).flatten().expand(2, 9)
        tangent = law.tangent(F, law.initial_state(2), 1.0)
        wanted = 1.0 + (1 + 4 * (1 - math.log(5.0))) / 4.0
    columns = measure.columns(PLANE_STRAIN[measure])
    outside = [k for k in range(measure.n) if k not in columns]
    tangent[..., outside] = torch.nan
    tangent[..., outside, :] = torch.nan
    tangent[1, columns[0], columns[0]] = torch.nan
    value, direction = lowest_acoustic_eigenvalue(tangent, measure, PLANE_STRAIN[measure])
    assert float(value[0]) == pytest.approx(wanted, rel=1e-12)
    assert float(direction[0, 2]) == 0.0
    assert value[1].isnan()
    assert direction[1].isnan().all()
    if measure is FINITE:
        assert direction[0].abs().tolist() == pytest.approx([1, 0, 0], abs=1e-5)


def test_a_batch_of_tangents_answers_as_its_members_do():
    generator = torch.Generator().manual_seed(2)
    A = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=generator)
    value, direction = lowest_acoustic_eigenvalue(A, SMALL)
    assert (value.shape, direction.shape) == ((2, 3), (2, 3, 3))
    for i in range(2):
        for j in range(3):
            alone, _ = lowest_acoustic_eigenvalue(A[i, j], SMALL)
            assert float(alone) == pytest.approx(float(value[i, j]), abs=1e-12)


def test_a_tangent_of_the_wrong_shape_and_too_few_components_are_refused():
    with pytest.raises(ValueError, match=r"tangent: got shape \(6, 6\), wanted \(\*b, 9, 9\) for FINITE strain"):
        lowest_acoustic_eigenvalue(torch.eye(6, dtype=torch.float64), FINITE)
    with pytest.raises(ValueError, match=r"components: got 11, wanted all of them, or at least 11, 22, 12"):
        lowest_acoustic_eigenvalue(torch.eye(6, dtype=torch.float64), SMALL, ("11",))


def test_a_record_knows_where_its_law_lost_ellipticity():
    law, s = NeoHooke(mu=1.0, lmbda=4.0), [1.2, 1.6, 2.0, 2.4, 2.8]
    path = LoadPath.along("finite", strain={"11": s, "22": s, "12": 0.0, "21": 0.0})
    record = drive(law, path, tangent=True)
    wanted = [1 + min(0.0, 1 + 4 * (1 - 2 * math.log(x))) / x**2 for x in s]
    assert record.acoustic_eigenvalue[0].tolist() == pytest.approx(wanted, rel=1e-11)
    assert min(wanted) < 0.7 < 1.0 == max(wanted)
    assert drive(law, path).acoustic_eigenvalue is None
    uniaxial = drive(law, LoadPath.along("finite", strain={"11": s}), tangent=True)
    assert uniaxial.acoustic_eigenvalue.isnan().all()
    sheet = drive(PlaneStress(law), path, tangent=True)
    assert sheet.acoustic_eigenvalue.isfinite().all()
