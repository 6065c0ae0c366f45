"""docs/invariants.md tells the truth: every guard and every test it names is there under that name."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "invariants.md").read_text()
ROWS = {
    int(number): {"says": says, "guards": guards, "tests": tests}
    for number, says, guards, tests in re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
}
NAMES = re.findall(r"`([^`\s]+)`", PAGE)
TESTS = [name for name in NAMES if "::" in name]
FUNCTIONS = [name for name in NAMES if name.startswith("registry.") and "…" not in name]
IN_THE_DATABASE = [name for name in NAMES if re.fullmatch(r"[a-z]+_[a-z]+\.\w+", name) and name != "table.name"]


def test_all_twenty_are_there_with_a_guard_and_a_test():
    assert list(ROWS) == list(range(1, 21))
    for number, row in ROWS.items():
        assert row["says"].endswith("."), number
        named = re.findall(r"`([^`]+)`", row["guards"])
        assert named and set(named) <= {*FUNCTIONS, *IN_THE_DATABASE}, f"{number}: {row['guards']}"
        named = re.findall(r"`([^`]+)`", row["tests"])
        assert named and set(named) <= set(TESTS), f"{number}: {row['tests']}"


def test_every_name_on_the_page_is_checked():
    others = {*NAMES} - {*TESTS, *FUNCTIONS, *IN_THE_DATABASE}
    assert others == {"table.name", "registry.…", "tests/reviews/test_invariants.py"}


@pytest.mark.django_db
def test_what_is_named_in_the_database_is_in_it():
    """Constraints, indexes and triggers; pgtrigger puts a prefix and a hash around the name of a trigger."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT conrelid::regclass || '.' || conname FROM pg_constraint WHERE conrelid <> 0 AND convalidated
            UNION SELECT indrelid::regclass || '.' || indexrelid::regclass FROM pg_index
                WHERE indisunique AND indisvalid
            UNION SELECT tgrelid::regclass || '.' || regexp_replace(tgname, '^pgtrigger_(.*)_[0-9a-f]{5}$', '\\1')
                FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'
            """
        )
        there = {name for (name,) in cursor.fetchall()}
    assert len(IN_THE_DATABASE) > 20
    assert set(IN_THE_DATABASE) - there == set()


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS)))
def test_what_is_named_in_the_code_can_be_called(name):
    path, _, attribute = name.rpartition(".")
    try:
        owner = import_module(path)
    except ModuleNotFoundError:
        module, _, owner_name = path.rpartition(".")
        owner = getattr(import_module(module), owner_name)
    found = getattr(owner, attribute)
    assert callable(found) or isinstance(found, property)


def names_of_tests(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef))


@pytest.mark.parametrize("file", sorted({name.partition("::")[0] for name in TESTS}))
def test_what_is_named_as_a_test_is_one(file):
    there = set(names_of_tests(ast.parse((ROOT / file).read_text())))
    named = {name.partition("::")[2] for name in TESTS if name.startswith(f"{file}::")}
    assert named - there == set()
    assert all(name.rpartition("::")[2].startswith("test_") for name in named)
