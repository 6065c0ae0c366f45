"""The rooms import only downwards, as `pyproject.toml` states it (DESIGN, section 3)."""

from importlinter.cli import lint_imports


def test_rooms_import_only_from_rooms_below(monkeypatch, pytestconfig):
    monkeypatch.chdir(pytestconfig.rootpath)
    assert lint_imports(no_cache=True) == 0
