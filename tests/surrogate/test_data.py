from __future__ import annotations

import numpy as np
import pytest
import torch

from datagen.generate import generate
from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import PLANE_STRAIN, Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.verdict import Verdict
from datagen.paths.drive import drive
from datagen.paths.path import LoadPath
from datagen.paths.proportional import proportional
from datagen.paths.random_walk import random_walk
from surrogate.data import Dataset, Minibatches, PathData

PLANE = PLANE_STRAIN[Measure.FINITE]


def ramps(n_paths=10, n_steps=3, tangent=False):
    law = NeoHooke(mu=1.0, lmbda=2.0)
    return drive(law, proportional("finite", PLANE, n_paths, n_steps, 0.1, seed=0), tangent)


def walks(n_paths=6, n_steps=3):
    return drive(NeoHooke(mu=1.0, lmbda=2.0), random_walk("finite", PLANE, n_paths, n_steps, 0.1, seed=1))


def arrays(n=6, T=2):
    generator = torch.Generator().manual_seed(0)
    strain = torch.zeros(n, T, 6, dtype=torch.float64)
    strain[..., :3] = 0.01 * torch.randn(n, T, 3, dtype=torch.float64, generator=generator)
    return {"strain": strain, "stress": 2 * strain, "psi": strain.square().sum(-1)}


def test_every_path_starts_in_the_reference_state():
    record = ramps()
    data = Dataset.read(record)
    strain = data.records.strain
    assert strain.shape == (10, 4, 9)
    assert torch.equal(strain[:, 0], Measure.FINITE.reference().expand(10, 9))
    assert torch.equal(strain[:, 1:], record.strain)
    assert torch.equal(data.records.answer.stress, record.stress)
    assert data.components == PLANE
    assert data.classes == ("proportional",)


def test_a_store_reads_as_the_record_that_was_written(tmp_path):
    paths = [proportional("finite", PLANE, 5, 3, 0.1, seed=0), random_walk("finite", PLANE, 4, 3, 0.1, seed=1)]
    law = NeoHooke(mu=1.0, lmbda=2.0)
    store = generate(law, paths, tmp_path / "data", progress=False, tangent=True)
    data, direct = Dataset.read(tmp_path / "data"), Dataset.read([drive(law, path) for path in paths])
    assert data.sha256 == store.sha256
    assert data.classes == ("proportional", "random_walk")
    assert data.of("random_walk").records.n_paths == 4
    assert torch.equal(data.records.strain, direct.records.strain)
    assert torch.equal(data.records.answer.psi, direct.records.answer.psi)
    assert data.records.answer.tangent is not None
    assert direct.records.answer.tangent is None


def test_a_member_without_an_answer_is_counted_and_never_learned_from():
    F = torch.linspace(1.0, 1.3, 3).double().repeat(4, 1)
    F[2] = torch.tensor([0.9, 0.1, -0.2])  # folds over in the last step
    record = drive(NeoHooke(mu=1.0, lmbda=2.0), LoadPath.along("finite", strain={"11": F}))
    assert record.verdict[2, -1] == Verdict.INVERTED
    data = Dataset.read(record)
    assert data.records.n_paths == 3
    assert data.n_failed == 1
    assert all(x.isfinite().all() for x in (data.records.strain, data.records.answer.stress))


def test_a_warning_is_an_answer():
    data = arrays()
    data["verdict"] = torch.full((6, 2), int(Verdict.UNSTABLE))
    assert Dataset.read(data).records.n_paths == 6


def test_unknown_energies_are_nan_and_welcome():
    data = Dataset.read(arrays())
    assert data.records.answer.psi.isfinite().all()
    assert data.records.answer.dissipation.isnan().all()


def test_the_tangent_is_kept_along_one_unit_direction_a_point():
    record = ramps(tangent=True)
    data = Dataset.read(record, seed=3)
    V = data.records.direction
    assert torch.allclose(V.norm(dim=-1), torch.ones(10, 3).double())
    undriven = [k for k in range(9) if k not in data.columns]
    assert not V[..., undriven].any()
    product = torch.einsum("ptij,ptj->pti", record.tangent, V)
    assert torch.allclose(data.records.answer.tangent[..., data.columns], product[..., data.columns])


def test_the_split_is_by_path_class_by_class_and_the_same_for_the_same_seed():
    records = [ramps(20), walks(10)]
    first, again, other = (PathData(records, validation=0.2, seed=s) for s in (0, 0, 1))
    assert first.train.records.n_paths == 24
    assert sorted(first.validation.path_class) == ["proportional"] * 4 + ["random_walk"] * 2
    assert torch.equal(first.train.records.strain, again.train.records.strain)
    assert not torch.equal(first.train.records.strain, other.train.records.strain)
    ends = torch.cat([first.train.records.strain[:, -1], first.validation.records.strain[:, -1]])
    assert len(ends.unique(dim=0)) == 30


def test_a_class_that_is_not_asked_for_stays_unseen():
    data = PathData([ramps(20), walks(10)], train_classes=["proportional"])
    assert set(data.train.classes) | set(data.validation.classes) == {"proportional"}
    assert data.dataset.records.n_paths == 20


def test_two_paths_are_enough_to_train_and_to_validate():
    data = PathData(ramps(2), validation=0.01)
    assert (data.train.records.n_paths, data.validation.records.n_paths) == (1, 1)


def test_minibatches_pass_every_path_once_in_a_new_order():
    records = Dataset.read(ramps(10)).records
    batches = Minibatches(records, 4, seed=0)
    first, second = list(batches), list(batches)
    assert [b.n_paths for b in first] == [4, 4, 2]
    assert len(batches) == 3
    shuffled = torch.cat([b.strain for b in first])
    assert not torch.equal(shuffled, torch.cat([b.strain for b in second]))
    assert torch.equal(shuffled.unique(dim=0), records.strain.unique(dim=0))
    (whole,) = Minibatches(records, None)
    assert whole is records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stress": None}, "no array 'stress'"),
        ({"strain": torch.zeros(6, 2, 5)}, r"strain has shape \(6, 2, 5\)"),
        ({"strain": torch.zeros(6, 2, 6)}, "ever leaves the reference"),
        ({"psi": torch.zeros(6, 3)}, r"psi has shape \(6, 3\), wanted \(6, 2\)"),
        ({"parameters": torch.zeros(5, 1)}, r"parameters has shape \(5, 1\)"),
        ({"verdict": torch.full((6, 2), 10)}, "none of 6 paths has an answer"),
        ({"stress": torch.full((6, 2, 6), torch.nan)}, "stress of 6 paths is not finite"),
        ({"components": ("11", "77")}, "'77'"),
    ],
)
def test_what_is_wrong_with_the_arrays_is_said(change, message):
    data = {name: x for name, x in (arrays() | change).items() if x is not None}
    with pytest.raises(ValueError, match=message):
        Dataset.read(data)


def test_what_is_wrong_with_the_request_is_said():
    with pytest.raises(TypeError, match="got int"):
        Dataset.read(3)
    with pytest.raises(ValueError, match="got 'cyclic', the data have proportional"):
        PathData(ramps(), train_classes=["cyclic"])
    with pytest.raises(ValueError, match="1 path with an answer, wanted at least 2"):
        PathData(ramps(1))
    with pytest.raises(ValueError, match=r"validation: got 1\.5"):
        PathData(ramps(), validation=1.5)
    with pytest.raises(ValueError, match="2 steps beside 3"):
        Dataset.read([ramps(), walks(n_steps=2)])


def test_a_law_that_does_not_fit_the_data_is_named():
    data = Dataset.read(ramps())
    with pytest.raises(ValueError, match="J2Plasticity takes the small strain"):
        data.check(J2Plasticity(E=1.0, nu=0.3, yield_stress=1.0, hardening=0.0))
    law = NeoHooke(mu=1.0, lmbda=2.0)
    law.components = ("11", "22")
    with pytest.raises(ValueError, match="also drive 12, 21"):
        data.check(law)
    law = NeoHooke(mu=1.0, lmbda=2.0)
    law.parameter_names = ("sample",)
    with pytest.raises(ValueError, match="takes the parameters sample, the data have 0"):
        data.check(law)


def test_numpy_arrays_do_as_well():
    data = {name: x.numpy() for name, x in arrays().items()} | {"path_class": np.array(["a", "b"] * 3)}
    assert Dataset.read(data).classes == ("a", "b")
