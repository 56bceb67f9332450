from __future__ import annotations

import math

import lightning
import pytest
import torch

from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Law, Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.paths.cyclic import cyclic
from datagen.paths.drive import drive
from datagen.paths.proportional import proportional
from surrogate.data import PathData
from surrogate.learner import LBFGS, Adam, Learner
from surrogate.losses import EnergyLoss
from surrogate.train import train


class Learnable(Law):
    """A textbook law whose moduli are learned, as logarithms."""

    def __init__(self, law, **guess):
        super().__init__()
        self.law = law
        self.measure, self.components, self.state_names = law.measure, law.components, law.state_names
        guess = {name: torch.nn.Parameter(torch.tensor(float(x)).double().log()) for name, x in guess.items()}
        self.moduli = torch.nn.ParameterDict(guess)

    def forward(self, strain, state, dt, parameters=None):
        return self.law.with_buffers(**{name: x.exp() for name, x in self.moduli.items()})(strain, state, dt)

    def found(self):
        return {name: float(x.exp().detach()) for name, x in self.moduli.items()}


def rubber(n_paths=8):
    return drive(
        NeoHooke(mu=1.0, lmbda=2.0), proportional("finite", PLANE_STRAIN[Measure.FINITE], n_paths, 3, 0.2, seed=0)
    )


def test_lbfgs_finds_the_moduli_of_rubber_to_the_last_digits():
    law = Learnable(NeoHooke(mu=3.0, lmbda=1.0), mu=3.0, lmbda=1.0)
    train(rubber(), law, adam=None, lbfgs=LBFGS(iterations=60, per_epoch=10), show=False)
    assert law.found() == pytest.approx({"mu": 1.0, "lmbda": 2.0}, rel=1e-9)


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "constant"])
def test_adam_finds_them_roughly(schedule):
    law = Learnable(NeoHooke(mu=3.0, lmbda=1.0), mu=3.0, lmbda=1.0)
    train(
        rubber(), law, adam=Adam(epochs=60, learning_rate=0.1, batch_size=3, schedule=schedule), lbfgs=None, show=False
    )
    assert law.found() == pytest.approx({"mu": 1.0, "lmbda": 2.0}, rel=0.1)


def test_a_law_with_history_is_learned_through_its_path():
    steel = J2Plasticity(E=210e3, nu=0.3, yield_stress=250.0, hardening=2100.0)
    record = drive(steel, cyclic("small", None, 6, 8, 0.01, seed=0))
    law = Learnable(steel, yield_stress=350.0, hardening=1000.0)
    train(record, law, adam=None, lbfgs=LBFGS(iterations=60, per_epoch=20), show=False)
    assert law.found() == pytest.approx({"yield_stress": 250.0, "hardening": 2100.0}, rel=1e-6)


def test_lbfgs_ends_where_no_step_improves():
    law = Learnable(NeoHooke(mu=3.0, lmbda=1.0), mu=3.0, lmbda=1.0)
    learner = learn(law, LBFGS(iterations=4000, per_epoch=10))
    assert learner.best_loss < 1e-20
    assert len(learner.history) < 30


def test_the_best_weights_are_kept_not_the_last():
    law = Learnable(NeoHooke(mu=3.0, lmbda=1.0), mu=3.0, lmbda=1.0)
    learner = learn(law, Adam(epochs=15, learning_rate=0.4, batch_size=2, schedule="constant"))
    values = [entry["validation"] for entry in learner.history]
    assert min(values) < values[-1]
    assert learner.best_loss == min(values)
    learner.restore()
    with torch.no_grad():
        assert float(learner(learner.trainer.datamodule.validation.records)[0]) == pytest.approx(min(values))


def test_a_later_phase_must_beat_the_one_before():
    law = Learnable(NeoHooke(mu=1.0, lmbda=2.0), mu=1.01, lmbda=2.0)
    before = law.found()
    learner = learn(law, Adam(epochs=2, learning_rate=0.3), best_loss=1e-9)
    assert law.found() != before
    learner.restore()
    assert law.found() == before


def test_a_loss_that_explodes_ends_the_phase_and_is_told():
    law = Learnable(NeoHooke(mu=3.0, lmbda=1.0), mu=math.inf, lmbda=1.0)
    learner = learn(law, Adam(epochs=50))
    assert len(learner.history) == 1
    with pytest.raises(FloatingPointError, match="the loss is nan from the first adam epoch on"):
        learner.restore()


def test_the_history_tells_phase_epoch_time_and_every_term():
    learner = learn(Learnable(NeoHooke(mu=3.0, lmbda=1.0), mu=3.0, lmbda=1.0), LBFGS(iterations=4, per_epoch=2))
    first, second = learner.history
    assert (first["phase"], first["epoch"], second["epoch"]) == ("lbfgs", 1, 2)
    assert second["train"] < first["train"]
    assert second["seconds"] >= first["seconds"] > 0
    assert set(first["terms"]) == {"stress", "psi"}
    assert first["evaluations"] >= 3


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (lambda: Adam(epochs=0), "adam: got epochs = 0, wanted > 0"),
        (lambda: Adam(learning_rate=-1.0), "learning_rate = -1.0"),
        (lambda: Adam(schedule="linear"), "got schedule 'linear', wanted cosine, plateau or constant"),
        (lambda: LBFGS(iterations=-3), "lbfgs: got iterations = -3"),
    ],
)
def test_settings_outside_their_range_are_refused(phase, message):
    with pytest.raises(ValueError, match=message):
        phase()


def learn(law, phase, **more):
    """One phase on the rubber's paths, by Lightning alone."""
    data = PathData(rubber(), batch_size=phase.batch_size)
    learner = Learner(law, EnergyLoss(stress=1.0, psi=1.0).fit(data.train), phase, **more)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=phase.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(learner, datamodule=data)
    return learner
