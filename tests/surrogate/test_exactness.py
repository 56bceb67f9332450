from __future__ import annotations

import math

import pytest
import torch

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from datagen.paths.cyclic import cyclic
from datagen.paths.drive import drive
from datagen.paths.random_walk import random_walk
from surrogate.exactness import (
    closed_loop_work,
    objectivity,
    parity,
    reference_state,
    stress_is_energy_gradient,
    tangent_is_stress_derivative,
)


def rubber():
    return NeoHooke(mu=1.0, lmbda=2.0)


def sheet():
    return PlaneStress(rubber())


def steel():
    return J2Plasticity(E=210e3, nu=0.3, yield_stress=250.0, hardening=2100.0)


def walks(components=None, n_paths=6, n_steps=4):
    return random_walk("finite", components, n_paths, n_steps, 0.2, seed=0).target


class Leaky(NeoHooke):
    """Rubber that gives back less than it takes: a stress which is no derivative."""

    def forward(self, strain, state, dt, parameters=None):
        step = super().forward(strain, state, dt, parameters)
        return step._replace(stress=step.stress * (1 + 0.01 * strain[..., 1:2]))


class Twisted(NeoHooke):
    """Rubber that feels which way it is turned."""

    def forward(self, strain, state, dt, parameters=None):
        step = super().forward(strain, state, dt, parameters)
        return step._replace(psi=step.psi * (1 + 0.01 * strain[..., 1]))


class Prestressed(NeoHooke):
    def forward(self, strain, state, dt, parameters=None):
        step = super().forward(strain, state, dt, parameters)
        return step._replace(stress=step.stress + 1e-3)


def test_parity_is_relative_to_the_largest():
    x = torch.tensor([1.0, -4.0])
    assert parity(x + torch.tensor([0.1, 0.2]), x) == pytest.approx(0.05)
    assert parity(torch.zeros(2), torch.zeros(2)) == 0.0
    assert parity(torch.ones(2), torch.zeros(2)) == math.inf
    assert math.isnan(parity(torch.tensor([math.nan, 1.0]), torch.ones(2)))


def test_rubber_is_objective_in_space_and_a_sheet_in_its_plane():
    assert objectivity(rubber(), walks()) < 1e-13
    assert objectivity(sheet(), walks(PLANE_STRAIN[Measure.FINITE])) < 1e-10
    assert objectivity(Twisted(mu=1.0, lmbda=2.0), walks()) > 1e-3


def test_objectivity_makes_no_sense_at_small_strain_nor_for_components_that_rotation_mixes():
    uniaxial = rubber()
    uniaxial.components = ("11",)
    assert objectivity(uniaxial, walks(("11",))) is None
    assert objectivity(LinearElastic(E=1.0, nu=0.3), torch.zeros(1, 1, 6).double()) is None


def test_the_undeformed_body_is_at_rest():
    for law in (rubber(), sheet(), steel(), LinearElastic(E=1.0, nu=0.3)):
        assert reference_state(law) == 0.0
    assert reference_state(Prestressed(mu=1.0, lmbda=2.0)) == pytest.approx(1e-3 / 4)  # stiffest: lmbda + 2 mu


def test_stress_is_the_derivative_of_the_energy():
    points = walks().flatten(0, 1)
    assert stress_is_energy_gradient(rubber(), points) < 1e-11
    assert stress_is_energy_gradient(sheet(), walks(PLANE_STRAIN[Measure.FINITE]).flatten(0, 1)) < 1e-10
    assert stress_is_energy_gradient(Leaky(mu=1.0, lmbda=2.0), points) > 1e-4


def test_energy_of_a_law_with_history_is_no_potential():
    assert stress_is_energy_gradient(steel(), torch.zeros(1, 6).double()) is None
    assert closed_loop_work(steel()) is None


def test_tangent_is_the_derivative_of_the_stress():
    points = walks().flatten(0, 1)
    assert tangent_is_stress_derivative(rubber(), points) < 1e-11
    assert tangent_is_stress_derivative(Leaky(mu=1.0, lmbda=2.0), points) > 1e-4  # Leaky keeps the tangent of rubber


def test_tangent_of_steel_is_checked_where_the_path_has_led():
    law = steel()
    record = drive(law, cyclic("small", None, 8, 6, 0.01, seed=0))
    state = law.initial_state(8)
    for k in range(5):
        state = law(record.strain[:, k], state, 1.0).state
    assert float(state[:, 6].min()) > 0
    assert tangent_is_stress_derivative(law, record.strain[:, 5], state) < 1e-7


def test_rubber_does_no_work_around_a_closed_loop():
    assert closed_loop_work(rubber(), amplitude=0.3) < 1e-10
    assert closed_loop_work(sheet(), amplitude=0.2) < 1e-10
    assert closed_loop_work(LinearElastic(E=1.0, nu=0.3), amplitude=0.01) < 1e-10
    assert closed_loop_work(Leaky(mu=1.0, lmbda=2.0), amplitude=0.3) > 1e-5


def test_a_loop_of_ones_own():
    def shear_and_back(theta):
        strain = Measure.FINITE.reference().repeat(len(theta), 1)
        rate = torch.zeros_like(strain)
        strain[:, 1], rate[:, 1] = 0.4 * theta.sin(), 0.4 * theta.cos()
        strain[:, 0], rate[:, 0] = 1 + 0.2 * (2 * theta).sin(), 0.4 * (2 * theta).cos()
        return strain, rate

    assert closed_loop_work(rubber(), loops=[shear_and_back]) < 1e-10
