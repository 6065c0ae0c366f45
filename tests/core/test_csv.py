import csv
import io

import pytest

from registry.core.csv import cell, stream_csv


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_formula_is_defused(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(("value", "said"), [(None, ""), ("a-b", "a-b"), (3, "3"), ("", "")])
def test_everything_else_stays(value, said):
    assert cell(value) == said


def test_rows_are_streamed_and_read_back():
    answer = stream_csv("list", ["name", "note"], iter([['Zoë, "Z"', "two\nlines"], ["=cmd", None]]))
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(text))) == [["name", "note"], ['Zoë, "Z"', "two\nlines"], ["'=cmd", ""]]
    assert answer["Content-Disposition"] == 'attachment; filename="list.csv"'
