from __future__ import annotations

import pytest

from datagen.laws.law import Law, Measure
from datagen.laws.neo_hooke import NeoHooke
from surrogate.compose import about, build, compose, groups
from surrogate.resources import config_folder


def test_without_overrides_the_shipped_configuration_is_whole_and_resolved():
    config = compose()
    assert config.law._target_ == "datagen.laws.neo_hooke.NeoHooke"
    assert {"law", "paths", "executor", "network", "loss", "data", "trainer", "macro", "solver"} <= set(config)


def test_an_option_and_a_value_are_chosen_together():
    config = compose(["law=linear_elastic", "law.nu=0.25", "seed=3"])
    assert (config.law.nu, config.seed) == (0.25, 3)


def test_a_group_fills_the_place_that_is_named():
    config = compose(["path@paths.train.ramps=cyclic", "+path@paths.train.walks=random_walk"])
    assert set(config.paths.train) == {"ramps", "walks"}
    assert config.paths.train.ramps._target_ == "datagen.paths.cyclic.cyclic"


def test_a_path_of_the_configuration_can_be_left_out():
    assert "test" not in compose(["~path@paths.test.smooth"]).paths


@pytest.mark.parametrize("name", groups()["experiment"])
def test_an_experiment_composes_and_what_is_said_beside_it_counts(name):
    config = compose([f"experiment={name}", "seed=7", "paths.train.ramps.n_paths=5"])
    assert (config.seed, config.paths.train.ramps.n_paths) == (7, 5)
    held_out = {sampler._target_ for sampler in config.paths.test.values()}
    assert not held_out & {sampler._target_ for sampler in config.paths.train.values()}
    for datasets in config.paths.values():
        assert len({sampler.n_steps for sampler in datasets.values()}) == 1


def test_the_elastomer_is_what_the_demo_promises():
    config = compose(["experiment=fibre_elastomer"])
    matrix, fibre = config.law.laws
    assert fibre.mu / matrix.mu == fibre.lmbda / matrix.lmbda == 20
    assert config.law.microstructure.fraction == 0.3
    assert config.law.microstructure.grid >= 24
    assert config.paths.test.smooth.n_paths >= 30
    assert config.paths.test.smooth.amplitude == config.paths.train.ramps.amplitude
    assert config.macro.n >= 8
    assert config.macro.steps >= 4


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("netwrok=energy", "netwrok: no such key; did you mean network?"),
        ("law.mus=2", "law.mus: no such key; did you mean mu?"),
        ("law.qqqq=2", "law.qqqq: no such key; law has _target_, mu, lmbda"),
        ("law.mu.x=2", "law.mu.x: no such key"),
        ("law=neohook", "law: got 'neohook', wanted one of .*neo_hooke.*; did you mean neo_hooke"),
        ("experiment=nothing", "experiment: got 'nothing', wanted one of .*fibre_elastomer"),
        ("law=null", "law: got null, wanted one of"),
        ("law=1,2", r"got 'law=1,2', wanted one value; a list is written law=\[a,b\]"),
        ("+law=neo_hooke", "without the plus"),
        ("law.mu", "got 'law.mu', wanted KEY=VALUE"),
        ("law.mu=[1", r"got 'law.mu=\[1', wanted KEY=VALUE"),
        ("--verbose", "got '--verbose', wanted KEY=VALUE"),
        ("=3", "got '=3', wanted KEY=VALUE"),
        ("law.mu=stiff", "law.mu: got 'stiff', wanted a number, as its default 1.0"),
        ("law.mu=null", "law.mu: got null, wanted a number"),
        ("law.mu=${nothing}", "law.mu: .*'nothing' not found"),
        ("tangents=maybe", "tangents: got 'maybe', wanted true or false"),
        ("paths.train.ramps=cyclic", "write GROUP@paths.train.ramps=cyclic"),
        ("path@paths.train.ramps=cycle", "path: got 'cycle' .*did you mean cyclic"),
        ("path@paths.trian.ramps=cyclic", "did you mean path@paths.train.ramps"),
        ("microstructure@law.microstructure=laminate", "nothing is there to override"),
        ("path@paths.train=cyclic", r"to lay it over write \+path@paths.train=cyclic"),
        ("~nothing", "nothing: no such key"),
    ],
)
def test_a_wrong_override_is_named_in_one_line_that_helps(override, said):
    with pytest.raises(ValueError, match=said) as caught:
        compose([override])
    assert "\n" not in str(caught.value)


def test_groups_list_the_options_that_ship_with_a_line_about_each():
    found = groups()
    assert {"neo_hooke", "j2_plasticity"} <= set(found["law"])
    for group, options in found.items():
        for option in options:
            assert about(group, option), f"configs/{group}/{option}.yaml needs a comment that says what it is"


def test_a_folder_without_configuration_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no main\.yaml"):
        compose(folder=tmp_path)


def test_a_configuration_that_cannot_be_composed_is_not_blamed_on_an_override(tmp_path):
    (tmp_path / "main.yaml").write_text("defaults:\n  - law: lost\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^configuration: "):
        compose(folder=tmp_path)


def test_a_target_is_called_with_plain_lists_and_extra_arguments():
    law = build(compose().law, mu=2.0)
    assert isinstance(law, NeoHooke)
    assert float(law.mu) == 2.0
    assert build({"a": {"_target_": "builtins.dict", "x": [1, 2]}}) == {"a": {"x": [1, 2]}}


def test_what_a_target_says_about_its_arguments_is_passed_on_as_it_is():
    with pytest.raises(ValueError, match=r"^mu: got -1, wanted a shear modulus > 0") as caught:
        build(compose(["law.mu=-1"]).law)
    assert caught.value.__traceback__ is not None


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+law.colour=3", "^law: .*unexpected keyword argument 'colour'; ~law.colour leaves it out"),
        ("~law.mu", "^law: .*missing 1 required positional argument: 'mu'"),
        ("law._target_=datagen.laws.nothing.Nothing", "^configuration: .*No module named 'datagen.laws.nothing'"),
        ("law._target_=os.system", "^configuration: .*os.system"),
    ],
)
def test_a_target_that_cannot_be_called_names_its_place(override, said):
    with pytest.raises((TypeError, ValueError), match=said):
        build(compose([override]).law)


def test_every_law_of_the_configuration_is_a_law():
    for option in groups(config_folder())["law"]:
        law = build(compose([f"law={option}"]).law)
        assert isinstance(law, Law)
        assert law.measure in Measure
