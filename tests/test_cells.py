"""Cells that a spreadsheet would run."""

from hypothesis import given
from hypothesis import strategies as st

from hilum.outputs import cell, from_cell


def test_formulas_are_made_text_and_all_else_stays():
    for text in ("=1+1", "@SUM(A1)", "+1", "-1", "\t=1", "\r=1", "'=1", "''=1"):
        assert cell(text) == f"'{text}"
        assert from_cell(cell(text)) == text
    for text in ("", "x.png", "a=b", "'quoted'", "'", " =1"):
        assert cell(text) == from_cell(text) == text


@given(st.text("'=+-@\t\r a", max_size=6))
def test_every_cell_can_be_read_back(text):
    assert from_cell(cell(text)) == text
    assert cell(text)[:1] not in {"=", "+", "-", "@", "\t", "\r"}
