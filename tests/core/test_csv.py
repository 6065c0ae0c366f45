import csv
import io
import re

import pytest

from registry.core.csv import FORMULA, cell, line, stream_csv


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", '"=1', "\t1", "\r1", "\n1", "＝1", "＋1", "－1", "＠x", "\u3000＝1"]
)
def test_a_formula_is_defused(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("between", [";", "\t", "\r", "\n", "\r\n", "; ", ';"', ";\u3000"])
@pytest.mark.parametrize("sign", "=+-@＝＋－＠")
def test_so_it_is_where_a_spreadsheet_splits_elsewhere(between, sign):
    """Which takes no notice of our quotes, so a part of the cell is a cell of its own."""
    text = line([1, f"x{between}{sign}cmd|' /C calc'!A0;y"])
    for part in re.split(r"[;\t\r\n]", text):
        assert not part.strip(' "\u3000').startswith(FORMULA), (part, text)


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, ""), ("a-b", "a-b"), (3, "3"), (-3, "-3"), ("", ""), (["a", "b"], "a b"), ("a; b", "a; b"), (True, "True")],
)
def test_everything_else_stays(value, said):
    assert cell(value) == said


def test_rows_are_streamed_and_read_back():
    answer = stream_csv("list", ["name", "note"], iter([['Zoë, "Z"', "two\nlines"], ["=cmd", None]]))
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    assert text.startswith('"name","note"\r\n"Zoë, ""Z"""'), "every cell is quoted"
    assert list(csv.reader(io.StringIO(text))) == [["name", "note"], ['Zoë, "Z"', "two\nlines"], ["'=cmd", ""]]
    assert answer["Content-Disposition"] == 'attachment; filename="list.csv"'
