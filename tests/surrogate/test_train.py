from __future__ import annotations

import json
import os
import signal

import pytest
import safetensors.torch
import torch

from datagen.generate import generate
from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.paths.drive import drive
from datagen.paths.gaussian_process import gaussian_process
from datagen.paths.proportional import proportional
from datagen.paths.random_walk import random_walk
from surrogate.compose import build, compose
from surrogate.evaluate import evaluate
from surrogate.law import load
from surrogate.learner import LBFGS, Adam, Learner
from surrogate.losses import EnergyLoss
from surrogate.networks.energy import EnergyNetwork
from surrogate.train import train

PLANE = PLANE_STRAIN[Measure.FINITE]
QUICK = {"adam": Adam(epochs=4), "lbfgs": LBFGS(iterations=10, per_epoch=5), "show": False}


def rubber():
    return NeoHooke(mu=1.0, lmbda=2.0)


def ramps(n_paths=12):
    return drive(rubber(), proportional("finite", PLANE, n_paths, 3, 0.15, seed=0))


def network(**more):
    return EnergyNetwork("finite", PLANE, **{"widths": (6,), "seed": 1} | more)


def weights(law):
    return torch.cat([x.flatten() for x in law.state_dict().values() if x.is_floating_point()])


def test_a_network_learns_rubber_from_a_handful_of_paths():
    paths = [proportional("finite", PLANE, 16, 6, 0.15, seed=0), random_walk("finite", PLANE, 16, 6, 0.15, seed=0)]
    unseen = drive(rubber(), gaussian_process("finite", PLANE, 16, 6, 0.12, seed=0))
    law = network(widths=(12, 12), symmetry="isotropic")
    train([drive(rubber(), path) for path in paths], law, adam=Adam(epochs=20), lbfgs=LBFGS(iterations=600), show=False)
    found = evaluate(law, unseen)
    errors = found.classes["gaussian_process"]
    assert errors.stress.median < 1e-3
    assert errors.stress.p95 < 3e-3
    assert errors.psi.median < 1e-3
    assert all(x < 1e-10 for x in found.exactness.values())


def test_the_same_seed_gives_the_same_weights_to_the_last_bit():
    first, second = (train(ramps(), network(), seed=3, **QUICK) for _ in range(2))
    other = train(ramps(), network(), seed=4, **QUICK)
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


def test_the_global_random_numbers_do_not_matter_and_are_left_alone():
    torch.manual_seed(0)
    first = train(ramps(), network(), **QUICK)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(weights(first), weights(train(ramps(), network(), **QUICK)))


def test_the_number_of_threads_is_left_as_it_was():
    torch.set_num_threads(2)
    try:
        two = weights(train(ramps(), network(), **QUICK))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(two, weights(train(ramps(), network(), **QUICK)))


def test_what_is_saved_is_what_is_returned(tmp_path):
    store = generate(rubber(), proportional("finite", PLANE, 12, 3, 0.15, seed=0), tmp_path / "data", progress=False)
    law = train(store, network(), folder=tmp_path / "run", command="surrogate train x=1", **QUICK)
    again = load(tmp_path / "run")
    assert torch.equal(weights(law), weights(again))
    assert not law.training
    assert not any(p.requires_grad for p in law.parameters())
    card = (tmp_path / "run" / "card.md").read_text()
    assert "| command | surrogate train x=1 |" in card
    assert "| interrupted | False |" in card
    assert f"| sha256 | {store.sha256} |" in card
    for word in ("train_paths | 10", "proportional stress", "closed_loop_work", "lbfgs iterations", "driven strain"):
        assert word in card


def test_a_run_leaves_its_history_and_the_weights_of_each_phase(tmp_path):
    law = train(ramps(), network(), folder=tmp_path / "run", **QUICK)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [(x["phase"], x["epoch"]) for x in history] == [("adam", k) for k in (1, 2, 3, 4)] + [
        ("lbfgs", 1),
        ("lbfgs", 2),
    ]
    assert history[-1]["validation"] < history[3]["validation"]
    adam = safetensors.torch.load_file(tmp_path / "run" / "checkpoints" / "adam.safetensors")
    lbfgs = safetensors.torch.load_file(tmp_path / "run" / "checkpoints" / "lbfgs.safetensors")
    assert set(adam) == set(lbfgs) == set(law.state_dict())
    assert all(torch.equal(lbfgs[name], x) for name, x in law.state_dict().items())
    assert not torch.equal(adam["weights.0"], lbfgs["weights.0"])
    names = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    law_files = {"model.safetensors", "config.json", "card.md"}
    assert names == law_files | {"history.json", "adam.safetensors", "lbfgs.safetensors"}


def test_training_is_silent_but_for_its_progress(tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.chdir(tmp_path)
    train(ramps(), network(), **QUICK)
    assert capfd.readouterr() == ("", "")
    train(ramps(), network(), **QUICK | {"show": True})
    out, err = capfd.readouterr()
    assert out == ""
    assert all(line.startswith("train: ") for line in err.splitlines())
    assert "6/6 epochs" in err.splitlines()[-1]
    assert "validation loss" in err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
    assert not caplog.records


def test_ctrl_c_leaves_the_best_weights_so_far(tmp_path, monkeypatch):
    def press(learner, was=Learner.on_train_epoch_start):
        was(learner)
        if learner.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Learner, "on_train_epoch_start", press)
    before = signal.getsignal(signal.SIGINT)
    law = network()
    with pytest.raises(KeyboardInterrupt, match="the best weights so far are in"):
        train(ramps(), law, folder=tmp_path / "run", **QUICK)
    assert signal.getsignal(signal.SIGINT) is before
    assert "| interrupted | True |" in (tmp_path / "run" / "card.md").read_text()
    assert torch.equal(weights(load(tmp_path / "run")), weights(law))
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [x["epoch"] for x in history] == [1, 2, 3]


def test_a_second_ctrl_c_ends_at_once(monkeypatch):
    def press(learner, was=Learner.on_train_epoch_start):
        was(learner)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Learner, "on_train_epoch_start", press)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(ramps(), network(), **QUICK)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_network_may_be_trained_on_with_other_paths():
    law = train(ramps(), network(), **QUICK)
    with pytest.raises(ValueError, match="has no weights that may change; see requires_grad_"):
        train(ramps(), law, **QUICK)
    before = weights(law)
    train(drive(rubber(), random_walk("finite", PLANE, 12, 3, 0.15, seed=0)), law.requires_grad_(), **QUICK)
    assert not torch.equal(before, weights(law))


def test_tangents_are_learned_when_asked_for():
    path = proportional("finite", PLANE, 12, 3, 0.15, seed=0)
    loss = EnergyLoss(stress=1.0, tangent=0.1)
    train(drive(rubber(), path, tangent=True), network(), loss, **QUICK)
    with pytest.raises(ValueError, match="the data hold no tangents"):
        train(drive(rubber(), path), network(), loss, **QUICK)


def test_what_cannot_be_trained_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(ValueError, match="wanted at least one phase"):
        train(ramps(), network(), adam=None, lbfgs=None)
    with pytest.raises(ValueError, match="NeoHooke has no weights that may change"):
        train(ramps(), rubber(), **QUICK)
    with pytest.raises(ValueError, match="takes the small strain"):
        train(ramps(), EnergyNetwork("small"), **QUICK)
    with pytest.raises(ValueError, match="device: got 'gpu', wanted auto, cpu or cuda"):
        train(ramps(), network(), device="gpu", **QUICK)
    (tmp_path / "card.md").write_text("another law's")
    with pytest.raises(FileExistsError, match="holds a law already"):
        train(ramps(), network(), folder=tmp_path, **QUICK)
    with pytest.raises(FileExistsError, match="is a file"):
        train(ramps(), network(), folder=tmp_path / "card.md", **QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["card.md"]


def test_the_shipped_settings_are_the_defaults():
    config = compose()
    assert build(config.trainer) == {"adam": Adam(), "lbfgs": LBFGS()}
    assert build(config.data) == {"train_classes": None, "validation": 0.15}
    assert build(config.loss).weights == {"stress": 1.0, "psi": 0.3, "work": 0.1, "dissipation": 1.0}
    assert build(compose(["loss=stress"]).loss).weights == {"stress": 1.0}
    assert build(compose(["loss=sobolev"]).loss).weights["tangent"] == 0.1
    assert build(compose(["trainer=adam"]).trainer) == {"adam": Adam(epochs=500), "lbfgs": None}
