from __future__ import annotations

import io

import numpy as np

from surrogate.table import Table, Target, number


def shown(table):
    stream = io.StringIO()
    table.show(stream)
    return stream.getvalue()


def test_a_table_is_plain_and_at_most_80_columns_where_nobody_looks():
    words = "a rather long description that says what is meant and then says it once more, at length"
    text = shown(Table("Title", ["what", "value [MPa]", "wanted"], [[words, 1.23456, Target("<= 2 MPa", True)]] * 3))
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()
    assert "1.235" in text
    assert "<= 2 MPa  met" in text


def test_numbers_stand_flush_right_and_words_flush_left():
    lines = shown(Table("T", ["name", "n"], [["a", 5], ["bcd", np.int64(1234)], ["e", None]])).splitlines()
    assert lines[4:7] == [" a        5", " bcd   1234", " e"]


def test_a_column_of_words_and_numbers_is_not_numeric():
    assert Table("T", ["a", "b", "c"], [[1, "x", None], [np.float64(2.0), 3, None]]).numeric == (True, False, False)


def test_a_missed_target_cannot_be_overlooked():
    assert str(Target("<= 0.2 %", False)) == "<= 0.2 %  MISSED"


def test_numbers_are_written_with_the_digits_that_matter():
    assert [number(x) for x in (0, 12345678, 0.1 + 0.2, 1e-12, float("nan"))] == ["0", "12345678", "0.3", "1e-12", "-"]
