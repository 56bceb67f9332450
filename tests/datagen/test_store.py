"""A dataset says what it is, and refuses to be read when it is not what it was."""

import hashlib
import io
import json

import h5py
import numpy as np
import pytest
import torch

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.crystals import fcc
from datagen.atoms.lennard_jones import LennardJones
from datagen.generate import generate
from datagen.laws.j2_plasticity import J2Plasticity
from datagen.laws.law import Extra, Measure
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.verdict import Verdict
from datagen.paths.cyclic import cyclic
from datagen.paths.drive import drive
from datagen.paths.path import LoadPath
from datagen.paths.proportional import proportional
from datagen.store import MANIFEST, Store, digest, schema, write_atomically

STEEL = J2Plasticity(E=210000.0, nu=0.3, yield_stress=250.0, hardening=2100.0)
PATHS = [proportional("small", None, 5, 6, 0.01, seed=0), cyclic("small", None, 3, 6, 0.01, seed=0)]


@pytest.fixture
def store(tmp_path):
    return generate(STEEL, PATHS, tmp_path / "data", shard_size=2, progress=False, tangent=True)


def rewrite(store, k, change):
    """Change shard k by a function of its open file, and make the manifest agree: what a forger would do."""
    name = store.manifest["shards"][k]["name"]
    path = store.folder / name
    with h5py.File(path, "r+") as file:
        change(file)
    store.manifest["shards"][k]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (store.folder / MANIFEST).write_text(json.dumps(store.manifest))
    return Store(store.folder)


def test_arrays_are_what_the_law_answered(store):
    data = store.arrays()
    for batch, rows in zip(PATHS, (slice(0, 5), slice(5, 8)), strict=True):
        record = drive(STEEL, batch, tangent=True)
        for name in ("strain", "stress", "psi", "dissipation", "verdict", "tangent", "acoustic_eigenvalue"):
            np.testing.assert_array_equal(data[name][rows], getattr(record, name).numpy(), err_msg=name)
        np.testing.assert_array_equal(data["plastic_work"][rows], record.extras["plastic_work"].numpy())
        np.testing.assert_array_equal(data["dt"][rows], batch.dt.numpy())
    assert data["path_class"].tolist() == ["proportional"] * 5 + ["cyclic"] * 3
    assert data["member"].tolist() == list(range(8))
    assert data["strain"].dtype == np.float64
    assert data["verdict"].dtype == np.int8


def test_a_store_says_what_it_holds(store):
    assert store.measure is Measure.SMALL
    assert store.components == Measure.SMALL.components
    assert (store.n_members, store.n_done, store.n_failed, store.complete) == (8, 8, 0, True)
    assert store.provenance["seed"] == 0
    assert store.provenance["law"]["yield_stress"] == 250.0
    assert set(store.provenance["versions"]) >= {"torch", "numpy", "h5py"}
    assert store.manifest["component_order"] == ["11", "22", "33", "23", "13", "12"]
    assert [shard["members"] for shard in store.manifest["shards"]] == [[0, 2], [2, 4], [4, 5], [5, 7], [7, 8]]
    store.verify()


def test_every_shard_explains_itself(store):
    with h5py.File(store.folder / "shard_00000.h5") as file:
        assert {key: dataset.attrs["unit"] for key, dataset in file.items()} == {
            "strain": "-",
            "stress": "MPa",
            "psi": "MPa",
            "dissipation": "MPa",
            "dt": "s",
            "verdict": "-",
            "member": "-",
            "tangent": "MPa",
            "acoustic_eigenvalue": "MPa",
            "plastic_work": "MPa",
        }
        assert file["stress"].attrs["description"] == "Cauchy stress sigma (Mandel) at the end of each step"
        assert file["plastic_work"].attrs["description"] == "sigma : d eps_p within the step"
        assert file.attrs["measure"] == "small"
        assert file.attrs["path_class"] == "proportional"
        assert json.loads(file.attrs["component_order"])[3] == "23"
        assert {"seed", "config", "versions", "commit", "law", "units", "threads"} <= set(file.attrs)


def test_some_arrays_can_be_asked_for(store):
    data = store.arrays(["stress", "path_class"])
    assert list(data) == ["stress", "path_class"]
    with pytest.raises(ValueError, match=r"shard_00000.h5: got no array 'strian', wanted names among"):
        store.arrays(["strian"])


def test_the_same_data_make_the_same_file(store, tmp_path):
    again = generate(STEEL, PATHS, tmp_path / "again", shard_size=2, progress=False, tangent=True)
    assert again.sha256 == store.sha256
    for shard in store.manifest["shards"]:
        assert (store.folder / shard["name"]).read_bytes() == (again.folder / shard["name"]).read_bytes()


def test_failed_members_are_counted_and_left_out(tmp_path):
    F11 = torch.tensor([[0.9, 0.8], [0.9, -0.8], [1.1, 1.2]], dtype=torch.float64)
    path = LoadPath.along("finite", strain={"11": F11})
    store = generate(NeoHooke(mu=1.0, lmbda=10.0), path, tmp_path, shard_size=2, progress=False)
    assert store.n_failed == 1
    assert store.arrays()["member"].tolist() == [0, 2]
    everything = store.arrays(good_only=False)
    assert everything["verdict"].tolist() == [[0, 0], [0, 11], [0, 0]]
    assert np.isnan(everything["stress"][1, 1]).all()


def test_the_paths_of_a_store_drive_another_law(store):
    paths = store.paths()
    assert [(path.path_class, path.n_paths) for path in paths] == [("proportional", 5), ("cyclic", 3)]
    assert torch.equal(paths[1].target, PATHS[1].target)
    assert torch.equal(paths[1].dt, PATHS[1].dt)
    assert paths[1].components == store.components


@pytest.mark.parametrize("where", [0.02, 0.5, 0.999])
def test_a_flipped_byte_is_named_and_refused(store, where):
    path = store.folder / "shard_00002.h5"
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)
    for read in (store.arrays, store.verify, lambda: store.arrays(["dt"])):
        with pytest.raises(ValueError, match=r"shard_00002.h5: got sha256 .* wanted .* as in the manifest") as error:
            read()
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"shard_00002.h5: got sha256"):
        generate(STEEL, PATHS, store.folder, shard_size=2, progress=False, tangent=True)


def test_a_missing_shard_is_named(store):
    (store.folder / "shard_00001.h5").unlink()
    with pytest.raises(ValueError, match=r"shard_00001.h5: got no such file"):
        store.arrays()


def test_a_folder_that_is_no_dataset_is_refused_in_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dataset: got .*, wanted a folder with manifest.json") as error:
        Store(tmp_path)
    assert "\n" not in str(error.value)
    for text in ("", "[]", "{}", '{"format": "micromacro dataset 1", "measure": "large"}', "\x00\x01"):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(ValueError, match="got a file that is no manifest"):
            Store(tmp_path)


def test_a_manifest_of_another_format_or_with_a_path_for_a_name_is_refused(store):
    manifest = dict(store.manifest, format="micromacro dataset 99")
    (store.folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="got format 'micromacro dataset 99'"):
        Store(store.folder)
    store.manifest["shards"][0]["name"] = "../../shard_00000.h5"
    (store.folder / MANIFEST).write_text(json.dumps(store.manifest))
    with pytest.raises(ValueError, match=r"got a shard called '../../shard_00000.h5'"):
        Store(store.folder)


def replace_by(make):
    def change(file):
        del file["psi"]
        make(file)

    return change


def external(file):
    file.create_dataset("psi", (2, 6), dtype="f8", external=[("other.bin", 0, 96)])


def virtual(file):
    layout = h5py.VirtualLayout((2, 6), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "psi", (2, 6))
    file.create_virtual_dataset("psi", layout)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: file.update({"psi": h5py.ExternalLink("other.h5", "psi")}), "got a link at 'psi'"),
        (lambda file: file.update({"psi": h5py.SoftLink("/dt")}), "got a link at 'psi'"),
        (external, "external, virtual or filtered"),
        (virtual, "external, virtual or filtered"),
        (lambda file: file.create_dataset("psi", data=np.ones((2, 6)), compression="gzip"), "filtered"),
        (lambda file: file.create_dataset("psi", (2, 10**9), dtype="f8", chunks=(1, 10)), "plain storage"),
        (lambda file: file.create_dataset("psi", data=["a", "b"]), "no plain array of numbers"),
        (lambda file: file.create_group("psi"), "no plain array of numbers"),
        (lambda file: file.create_dataset("psi", data=np.ones((3, 6))), "got 3 members in 'psi', wanted 2"),
    ],
)
def test_only_plain_arrays_in_the_file_itself_are_read(store, make, message):
    forged = rewrite(store, 0, replace_by(make))
    with pytest.raises(ValueError, match=f"shard_00000.h5: .*{message}"):
        forged.arrays()


def test_changed_arrays_under_a_changed_checksum_differ_in_their_digest(store):
    def change(file):
        file["psi"][0, 0] += 1.0

    with pytest.raises(ValueError, match=r"shard_00000.h5: got arrays with digest"):
        rewrite(store, 0, change).verify()


def test_a_shard_that_is_not_hdf5_is_refused(store):
    path = store.folder / "shard_00000.h5"
    path.write_bytes(b"not a shard")
    store.manifest["shards"][0]["sha256"] = hashlib.sha256(b"not a shard").hexdigest()
    (store.folder / MANIFEST).write_text(json.dumps(store.manifest))
    with pytest.raises(ValueError, match=r"shard_00000.h5: got a file that HDF5 cannot read"):
        Store(store.folder).arrays()


def test_a_digest_sees_names_types_shapes_and_bytes():
    a = np.arange(6.0)
    prints = {
        digest({"a": a}),
        digest({"b": a}),
        digest({"a": a.astype(np.int64)}),
        digest({"a": a.reshape(2, 3)}),
        digest({"a": a + 1}),
    }
    assert len(prints) == 5
    assert digest({"a": a, "b": a}) == digest({"b": a.copy(), "a": a})
    assert digest({"a": np.arange(12.0)[::2] / 2}) == digest({"a": a})  # wherever it lies in memory
    assert digest({"a": a.astype(">f8")}) == digest({"a": a})


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def power_fails(descriptor):
        raise OSError("power failure")

    monkeypatch.setattr("datagen.store.os.fsync", power_fails)
    with pytest.raises(OSError, match="power failure"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_law_may_not_call_an_extra_like_an_array_of_the_store():
    with pytest.raises(ValueError, match="extras: got 'stress'"):
        schema(Measure.SMALL, {"stress": Extra((), "MPa", "mine")})


def test_what_a_crystal_says_of_its_stability_travels_with_the_data(tmp_path):
    argon = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125)
    law = CauchyBorn(argon, fcc(5.3, "Ar"), stability="phonon", grid=2, refine=False)
    held = {c: [float(c[0] == c[1])] * 3 for c in Measure.FINITE.components}
    pull = LoadPath.along("finite", strain={**held, "11": [1.02, 1.05, 1.4]})
    data = generate(law, [pull], tmp_path / "crystal", progress=False, tangent=True).arrays(good_only=False)
    assert data["verdict"][0].tolist() == [Verdict.GOOD, Verdict.GOOD, Verdict.ELASTICALLY_UNSTABLE]
    assert data["acoustic_eigenvalue"][0, 2] < 0 < data["acoustic_eigenvalue"][0, 1]
    assert data["normal"].shape == data["wave_vector"].shape == (1, 3, 3)


def test_a_shard_reads_without_this_package(store):
    content = (store.folder / "shard_00000.h5").read_bytes()
    with h5py.File(io.BytesIO(content)) as file:
        assert file["stress"][()].shape == (2, 6, 6)
