"""A load path says what is driven, and refuses what cannot be."""

import pytest
import torch

from datagen.laws.law import Measure
from datagen.paths.path import LoadPath, as_measure, stream


def test_targets_given_by_name_stand_in_their_columns():
    path = LoadPath.along("finite", strain={"21": 0.3, "11": [1.1, 1.2]}, stress={"33": 0.0}, dt=0.5)
    assert path.measure is Measure.FINITE
    assert path.components == ("11", "21", "33")
    assert path.stress_components == ("33",)
    assert path.target.tolist() == [[[1.1, 0, 0, 0.3, 1, 0, 0, 0, 0], [1.2, 0, 0, 0.3, 1, 0, 0, 0, 0]]]
    assert path.dt.tolist() == [[0.5, 0.5]]
    assert repr(path) == "LoadPath(path: 1 of 2 steps, FINITE, 11 21 by strain, 33 by stress)"


def test_members_are_selected_with_their_parameters():
    path = LoadPath.along("small", strain={"11": [[0, 1], [2, 3], [4, 5]]}, dt=torch.tensor([1.0, 2.0]))
    path = path.with_parameters(torch.tensor([[5.0], [6.0], [7.0]])).select([2, 0])
    assert path.target[..., 0].tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert path.parameters is not None
    assert path.parameters.tolist() == [[7.0], [5.0]]
    assert path.dt.tolist() == [[1.0, 2.0], [1.0, 2.0]]


def test_a_refined_path_passes_through_the_same_targets_in_the_same_time():
    path = LoadPath.along("finite", strain={"11": [[1.1, 0.8]]}, stress={"22": [0.3, 0.6]})
    fine = path.refined(4)
    assert torch.equal(fine.target[:, 3::4], path.target)
    assert fine.target[0, :4, 0] == pytest.approx([1.025, 1.05, 1.075, 1.1])
    assert fine.target[0, :4, 4] == pytest.approx([0.075, 0.15, 0.225, 0.3])  # stress starts from zero, not from one
    assert fine.dt.sum() == pytest.approx(2.0)
    with pytest.raises(ValueError, match="factor: got 0"):
        path.refined(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measure": "large"}, "measure: got 'large', wanted one of small, finite"),
        ({"target": torch.zeros(2, 3, 9, dtype=torch.float64)}, r"target: got shape \(2, 3, 9\), wanted .* 6"),
        ({"target": torch.zeros(0, 3, 6, dtype=torch.float64)}, "at least one path"),
        ({"target": torch.full((1, 2, 6), torch.nan, dtype=torch.float64)}, "target: got nan"),
        ({"target": torch.ones(1, 2, 6, dtype=torch.float64)}, "columns that are not driven"),
        ({"components": ("11", "21")}, "components: got '21', wanted names among"),
        ({"components": ()}, "components: got none"),
        ({"stress_components": ("22",)}, "stress_components: got '22', wanted names among 11, 12"),
        ({"dt": torch.tensor(0.0)}, "dt: got a time step that is not > 0"),
        ({"dt": torch.ones(5)}, r"dt: got shape \(5,\), wanted \(1, 2\)"),
        ({"parameters": torch.zeros(3, 1)}, r"parameters: got shape \(3, 1\), wanted \(1, n_parameters\)"),
    ],
)
def test_a_path_that_cannot_be_is_refused_in_one_line(change, message):
    given = {"measure": "small", "target": torch.zeros(1, 2, 6, dtype=torch.float64), "components": ("11", "12")}
    LoadPath(**given)
    with pytest.raises(ValueError, match=message) as error:
        LoadPath(**{**given, **change})
    assert "\n" not in str(error.value)


def test_targets_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="stress: got '11', which is also driven by strain"):
        LoadPath.along("small", strain={"11": 0.1}, stress={"11": 0.0})
    with pytest.raises(ValueError, match=r"targets: got shapes 11 \(2,\), 22 \(3,\)"):
        LoadPath.along("small", strain={"11": [0, 0], "22": [0, 0, 0]})
    with pytest.raises(ValueError, match="components: got none"):
        LoadPath.along("small")


def test_random_streams_differ_between_members_seeds_and_samplers():
    draws = {tuple(stream(name, seed, k).random(2)) for name in ("a", "b") for seed in (0, 1) for k in (0, 1)}
    assert len(draws) == 8
    assert stream("a", 1, 2).random() == stream("a", 1, 2).random()
    with pytest.raises(ValueError, match="seed: got -1"):
        stream("a", -1)
    assert as_measure("small") is Measure.SMALL
