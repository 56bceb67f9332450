from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.transversely_isotropic_elastic import TransverselyIsotropicElastic
from datagen.laws.verdict import Verdict
from datagen.laws.void import Void
from datagen.microstructures.microstructure import Microstructure
from datagen.rve.apparent import apparent, chosen, default_moduli, driven, mandel, moduli, point_moments
from datagen.rve.homogenised import HomogenisedCell
from datagen.tensors import random_rotation

ALL = ("11", "22", "33", "23", "13", "12")
E, NU = 3.0, 0.3
MU, K = E / (2 * (1 + NU)), E / (3 * (1 - 2 * NU))
LMBDA = K - 2 * MU / 3
ONE = Microstructure(np.zeros((2, 3, 3), dtype=int))


def of(law, components, name):
    C = mandel(law.tangent(law.reference_strain(), law.initial_state(), 1.0).numpy(), law.measure, components)
    return float(moduli(driven(HomogenisedCell(ONE, [law], components=components)))[name].of(C))


@pytest.mark.parametrize("law", [LinearElastic(E=E, nu=NU), NeoHooke(mu=MU, lmbda=LMBDA)], ids=["small", "finite"])
def test_an_isotropic_body_has_its_textbook_moduli(law):
    every = law.measure.components
    wanted = {"bulk": K, "shear": MU, "E22": E, "G13": MU, "C1122": LMBDA, "C1111": LMBDA + 2 * MU, "C2323": MU}
    for name, value in wanted.items():
        assert of(law, every, name) == pytest.approx(value, rel=1e-12)
    plane = ("11", "12", "21", "22") if len(every) == 9 else ("11", "22", "12")
    for name, value in {"bulk": LMBDA + MU, "shear": MU, "C1212": MU}.items():
        assert of(law, plane, name) == pytest.approx(value, rel=1e-12)


def test_antiplane_shear_is_seen_as_a_conductivity():
    law = LinearElastic(E=E, nu=NU)
    assert of(law, ("13", "23"), "shear") == pytest.approx(MU, rel=1e-12)
    assert of(law, ("13", "23"), "log_shear") == pytest.approx(math.log(MU), rel=1e-12)
    C = np.array([[2.0, 0.6], [0.6, 3.0]])
    assert moduli(("23", "13"))["log_shear"].of(C) == pytest.approx(0.5 * math.log(1.0 * 1.5 - 0.3**2))


def test_isotropic_moduli_do_not_see_how_the_body_is_turned():
    law = TransverselyIsotropicElastic(E1=10.0, E2=2.0, nu12=0.25, nu23=0.3, G12=1.5)
    turned = law.with_buffers(orientation=random_rotation(generator=torch.Generator().manual_seed(1)))
    for name in ("bulk", "shear"):
        assert of(turned, ALL, name) == pytest.approx(of(law, ALL, name), rel=1e-12)
    assert abs(of(turned, ALL, "E11") / of(law, ALL, "E11") - 1) > 0.01


def test_the_apparent_stiffness_of_a_laminate_lies_between_the_bounds_it_touches():
    """Backus' exact average: antiplane shear is the mean along the layers, the harmonic mean across."""
    layers = Microstructure(np.array([0, 0, 1, 0])[:, None] * np.ones((1, 3), dtype=int))
    laws = [LinearElastic(E=2.5, nu=0.25), LinearElastic(E=25.0, nu=0.25)]
    found = apparent(HomogenisedCell(layers, laws, "hex8r", tolerance=1e-12, components=("13", "23")))
    across, along = 1 / (0.75 / 1 + 0.25 / 10), 0.75 * 1 + 0.25 * 10
    np.testing.assert_allclose(found.stiffness[0], [[2 * along, 0], [0, 2 * across]], rtol=1e-10, atol=1e-10)
    assert found.verdict.tolist() == [0]


def test_a_yielding_law_is_seen_in_its_virgin_state():
    law = J2Plasticity(E=E, nu=NU, yield_stress=1e-3, hardening=0.1)
    found = apparent(HomogenisedCell(ONE, [law]))
    assert moduli(ALL)["E11"].of(found.stiffness)[0] == pytest.approx(E, rel=1e-8)


def test_a_cell_that_has_no_answer_is_nan_with_its_verdict():
    """Of two cells under uniform traction, the void of the second meets the boundary."""
    phase = np.zeros((2, 3, 3, 1), dtype=int)
    phase[0, 1, 1] = phase[1, 0, 1] = 1
    laws = [LinearElastic(E=E, nu=NU), Void()]
    found = apparent(HomogenisedCell(Microstructure(phase), laws, boundary="uniform_traction"))
    assert np.isfinite(found.stiffness[0]).all()
    assert np.isnan(found.stiffness[1]).all()
    assert found.verdict.tolist() == [Verdict.GOOD, Verdict.UNSUPPORTED]


def test_the_point_variance_of_two_phases_is_that_of_a_coin():
    cells = Microstructure(np.array([[[0, 1], [0, 0]], [[1, 1], [0, 0]]])[..., None])
    laws = [LinearElastic(E=2.0, nu=0.0), LinearElastic(E=8.0, nu=0.0)]
    mean, deviation = point_moments(cells, laws, moduli(("23", "13"))["shear"], ("23", "13"))
    f = 3 / 8
    assert mean == pytest.approx(1 + 3 * f)
    assert deviation == pytest.approx(3 * math.sqrt(f * (1 - f)))
    _, better = point_moments(cells, laws, moduli(("23", "13"))["shear"], ("23", "13"), np.array([0.1, 0.9]))
    assert better == pytest.approx(3 * math.sqrt(0.1 * 0.9))


def test_the_point_variance_of_a_polycrystal_is_that_of_its_orientations():
    law = TransverselyIsotropicElastic(E1=10.0, E2=2.0, nu12=0.25, nu23=0.3, G12=1.5)
    Q = random_rotation(4, generator=torch.Generator().manual_seed(0))
    cells = Microstructure(torch.arange(4).reshape(2, 2, 1), orientations=Q)
    values = [of(law.with_buffers(orientation=q), ALL, "E11") for q in Q]
    mean, deviation = point_moments(cells, [law], moduli(ALL)["E11"], ALL)
    assert mean == pytest.approx(np.mean(values))
    assert deviation == pytest.approx(np.std(values))
    isotropic = point_moments(cells, [law], moduli(ALL)["bulk"], ALL)
    assert isotropic[1] < 1e-12 * isotropic[0]


def test_a_void_has_no_logarithm_to_scatter():
    cells = Microstructure(np.array([[0, 1], [0, 0]]))
    found = point_moments(
        cells, [LinearElastic(E=1.0, nu=0.0), Void()], moduli(("23", "13"))["log_shear"], ("23", "13")
    )
    assert np.isnan(found).all()


def test_moduli_that_a_cell_has_not_are_named():
    assert default_moduli(("23", "13")) == ("shear", "log_shear")
    assert default_moduli(("11",)) == ("C1111",)
    with pytest.raises(ValueError, match="moduli: got E11, wanted names among shear, log_shear, C2323"):
        chosen(["E11"], ("23", "13"))
    with pytest.raises(ValueError, match="components: got 12, wanted some that make a strain"):
        driven(HomogenisedCell(ONE, [NeoHooke(mu=1.0, lmbda=1.0)], components=("12",)))
