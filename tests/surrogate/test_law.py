"""A law in a folder: what is written, what is read back, and what is refused."""

from __future__ import annotations

import doctest
import json
import os

import pytest
import safetensors.torch
import torch

import surrogate.law
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.verdict import Verdict
from surrogate.law import CARD, CONFIG, WEIGHTS, load, save
from surrogate.networks.convex import ConvexEnergyNetwork
from surrogate.networks.energy import EnergyNetwork

PLANE = ("11", "12", "21", "22")


class OwnNetwork(EnergyNetwork):
    """A network of a user's own."""


def trained(cls=EnergyNetwork, **arguments):
    network = cls("finite", PLANE, widths=(5, 4), **arguments)
    generator = torch.Generator().manual_seed(0)
    F = network.reference_strain() + 0.1 * torch.randn(50, 9, dtype=torch.float64, generator=generator)
    network.calibrate(F, 7.0 * F)
    return network, F


@pytest.fixture
def folder(tmp_path):
    return save(trained()[0], tmp_path / "law", {"data": {"sha256": "ab" * 32}, "command": "make law"})


def edit(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))


def test_the_docstrings_tell_the_truth():
    assert doctest.testmod(surrogate.law).failed == 0


@pytest.mark.parametrize("cls", [EnergyNetwork, ConvexEnergyNetwork])
def test_a_law_answers_the_same_after_a_round_trip(cls, tmp_path):
    network, F = trained(cls, symmetry="orthotropic")
    law = load(save(network, tmp_path / "a" / "law", "# A card"))
    one, two = network(F, network.initial_state(50), 1.0), law(F, law.initial_state(50), 1.0)
    assert torch.equal(one.stress[:, law.columns], two.stress[:, law.columns])
    assert torch.equal(one.extras["distance"], two.extras["distance"])
    assert not law.training
    assert not any(p.requires_grad for p in law.parameters())
    assert (tmp_path / "a" / "law" / CARD).read_text() == "# A card\n"
    assert sorted(os.listdir(tmp_path / "a")) == ["law"]


def test_a_law_knows_its_range_after_a_round_trip(folder):
    law = load(folder)
    far = law.reference_strain().clone()
    far[0] = 2.5
    assert law(far, law.initial_state(), 1.0).verdict == Verdict.OUTSIDE_RANGE


def test_the_folder_says_what_is_in_it(folder):
    config = json.loads((folder / CONFIG).read_text())
    assert config["schema"] == 1
    assert config["architecture"] == "energy"
    assert config["arguments"]["widths"] == [5, 4]
    assert config["measure"] == "finite"
    assert config["data_sha256"] == "ab" * 32
    assert set(config["training_range"]) == {"11", "22", "12"}
    card = (folder / CARD).read_text()
    for words in ("# EnergyNetwork", "| command | make law |", "| sha256 | abab", "training range in (C - C^-1) / 4"):
        assert words in card


def test_weights_trained_in_single_precision_are_stored_in_double(tmp_path):
    network, F = trained()
    law = load(save(network.float(), tmp_path / "law", "card"))
    assert law(F, law.initial_state(50), 1.0).stress.dtype == torch.float64


def test_a_law_is_not_overwritten_unasked(folder):
    network, F = trained(seed=1)
    with pytest.raises(FileExistsError, match=r"holds a law \(config.json\), wanted another folder or overwrite=True"):
        save(network, folder, "card")
    law = load(save(network, folder, "card", overwrite=True))
    assert torch.equal(law(F, law.initial_state(50), 1.0).psi, network(F, network.initial_state(50), 1.0).psi)


def test_a_law_joins_what_a_run_left_in_its_folder(tmp_path):
    (tmp_path / "history.json").write_text("[]")
    save(trained()[0], tmp_path, "card")
    assert sorted(os.listdir(tmp_path)) == sorted([CARD, CONFIG, "history.json", WEIGHTS])


def test_a_failed_save_leaves_nothing(tmp_path):
    network = trained()[0]
    network.seed = object()
    with pytest.raises(TypeError, match="EnergyNetwork has arguments that JSON cannot hold"):
        save(network, tmp_path / "law", "card")
    assert os.listdir(tmp_path) == []
    with pytest.raises(TypeError, match="law: got LinearElastic, wanted a Network"):
        save(LinearElastic(E=1.0, nu=0.3), tmp_path / "law", "card")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        save(trained()[0], tmp_path / "file", "card")


def test_a_class_of_ones_own_is_passed_and_never_imported(tmp_path):
    folder = save(trained(OwnNetwork)[0], tmp_path / "law", "card")
    with pytest.raises(ValueError, match="got architecture 'OwnNetwork', wanted one of convex, energy; a class of"):
        load(folder)
    assert type(load(folder, architectures=[OwnNetwork])) is OwnNetwork
    with pytest.raises(TypeError, match=r"architectures: got .*LinearElastic.*, wanted subclasses of Network"):
        load(folder, architectures=[LinearElastic])


@pytest.mark.parametrize(
    "name", ["../energy", "surrogate.networks.energy.EnergyNetwork", "os.system", "", "energy.yaml"]
)
def test_an_architecture_is_a_name_and_no_path(name, folder):
    edit(folder, architecture=name)
    with pytest.raises(ValueError, match="wanted one of convex, energy"):
        load(folder)


def test_a_target_in_the_folder_is_not_followed(folder):
    edit(folder, arguments={"_target_": "os.system", "command": "false"})
    with pytest.raises(ValueError, match="got argument '_target_' for energy, wanted measure, components"):
        load(folder)


def test_what_is_not_a_law_is_named(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is a file"):
        load(folder / CARD)
    with pytest.raises(FileNotFoundError, match=r"has no config\.json, wanted a folder written by"):
        load(tmp_path)
    for escape in ("checkpoints/..", "checkpoints/.", "checkpoints/../configs"):
        with pytest.raises(FileNotFoundError, match=r"no such folder|has no config\.json"):
            load(escape)
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 7}, "got schema 7, wanted 1"),
        ({"architecture": None}, "got architecture None, wanted a str"),
        ({"arguments": []}, r"got arguments \[\], wanted a dict"),
        ({"arguments": {"width": [3]}}, "got argument 'width' for energy, wanted measure, components"),
        ({"arguments": {"widths": "many"}}, "energy cannot be built from its arguments"),
        ({"arguments": {"widths": [float("inf")]}}, "energy cannot be built from its arguments"),
        ({"arguments": {"symmetry": "odd"}}, "symmetry: got 'odd'"),
        (
            {"arguments": {"components": list(PLANE), "widths": [5, 3]}},
            r"got \(5, 4\) torch.float64 for weights.1, wanted",
        ),
        ({"arguments": {"components": list(PLANE), "widths": [5]}}, r"wanted (\(5, 1\)|nothing)"),
    ],
)
def test_a_config_that_does_not_fit_is_named(changes, message, folder):
    edit(folder, **changes)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_damaged_or_missing_weights_are_named(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-3] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors: got sha256 .* the file is damaged"):
        load(folder)
    replace(folder, b"junk")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load(folder)
    replace(folder, safetensors.torch.save({"weights.0": torch.zeros(4, 5)}))
    with pytest.raises(ValueError, match="got nothing for strain_scale"):
        load(folder)
    (folder / CONFIG).write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        load(folder)


def replace(folder, content):
    """Other weights, with their right digest."""
    (folder / WEIGHTS).write_bytes(content)
    edit(folder, weights_sha256=surrogate.law.hashlib.sha256(content).hexdigest())
