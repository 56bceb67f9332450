from __future__ import annotations

import pytest
import torch

from datagen.atoms.parameter_file import masses_of, read, tables

NAMES = ("first", "second", "third")
FILE = """# two elements, three numbers
A A A 1 2 3 # in one line
B B B
  4.0 5e0
  # between
  6
A B B 7 8 9
B A A 10 11 12
A A B 13 14 15
A B A 16 17 18
B A B 19 20 21
B B A 22 23 24
C C C 0 0 0
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "AB.sw").write_text(text)
        return tmp_path / "AB.sw"

    return write


def test_entries_are_read_over_lines_and_comments_in_the_order_asked(written):
    found = read(written(FILE), ("B", "A"), NAMES)
    assert found["first"].dtype == torch.float64
    assert found["first"].tolist() == [[[4, 22], [19, 10]], [[7, 16], [13, 1]]]  # [BBB BBA], [BAB BAA]; [ABB ABA], ...
    assert found["third"].tolist() == [[[6, 24], [21, 12]], [[9, 18], [15, 3]]]
    assert read(written(FILE), ("A",), NAMES)["second"].tolist() == [[[2]]]


@pytest.mark.parametrize(
    ("change", "elements", "message"),
    [
        (("", ""), ("A", "D"), r"AB\.sw: no entry A A D, wanted all triplets of the elements; has A A A"),
        (("B A B 19 20 21\n", ""), ("A", "B"), r"AB\.sw: no entry B A B, wanted all triplets"),
        (("C C C 0 0 0", "C C C 0 0"), ("A",), r"line 13, entry C C C: got 2 numbers, wanted 3; the file ends in"),
        (("C C C 0 0 0", "C C"), ("A",), r"line 13, entry C C: got 0 numbers, wanted 3; the file ends"),
        (("A B B 7 8 9", "A B B 7 8"), ("A", "B"), r"line 7, entry A B B: got 8 numbers, wanted 3"),
        (("  6\n", ""), ("A", "B"), r"line 3, entry B B B: got 8 numbers, wanted 3"),
        (("A B B 7 8 9", "A B B 7 8 x"), ("A", "B"), r"line 7, entry A B B: got 'x' for third, wanted a number"),
        (("A B B 7 8 9", "A B B 7 nan 9"), ("A", "B"), r"line 7, entry A B B: got 'nan' for second, wanted a number"),
        (("C C C", "A A A"), ("A",), r"line 13, entry A A A: a second entry for these elements, wanted one"),
        (("", ""), ("A", "A"), r"elements: got \('A', 'A'\), wanted at least one, each once"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(written, change, elements, message):
    path = written(FILE.replace(*change) if change[0] else FILE)
    with pytest.raises(ValueError, match=message) as error:
        read(path, elements, NAMES)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"potential file 'none\.sw' not found; looked at .*none\.sw"):
        read(tmp_path / "none.sw", ("A",), NAMES)


def test_masses_are_given_or_those_of_the_elements():
    assert masses_of(("Si(C)", "C"), None) == (28.085, 12.011)
    assert masses_of(("A",), (3,)) == (3.0,)
    with pytest.raises(ValueError, match="masses: got none, wanted them: the mass of 'A' is not among"):
        masses_of(("A",), None)
    for wrong in ((1.0, 2.0), (-1.0,)):
        with pytest.raises(ValueError, match="masses: got"):
            masses_of(("A",), wrong)


def test_parameters_of_another_shape_are_refused():
    assert tables({"a": 2}, ("A",), (1.0,))["a"].shape == (1, 1, 1)
    with pytest.raises(ValueError, match=r"a: got shape \(\), wanted \(2, 2, 2\) for 2 elements"):
        tables({"a": 2}, ("A", "B"), (1.0, 1.0))
    with pytest.raises(ValueError, match=r"a: got \[inf\], wanted finite numbers"):
        tables({"a": float("inf")}, ("A",), (1.0,))
