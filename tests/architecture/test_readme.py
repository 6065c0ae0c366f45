"""The README says what the code does: its tables are compared with settings and dependencies."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
READERS = ("registry/settings.py", "registry/portal/management/commands/serve.py")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def variables_read() -> set[str]:
    source = "".join((ROOT / path).read_text() for path in READERS)
    asked = re.findall(r"\benv\.\w+\(\s*\"([A-Z_]+)\"", source)
    return {*asked, *re.findall(r"environ\.get\(\"([A-Z_]+)\"", source)}


def test_the_configuration_table_lists_every_variable_and_no_other():
    listed = re.findall(r"^\| `([A-Z_]+)` \|", section("Configuration"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == variables_read()


@pytest.mark.parametrize("extra", [None, "dev"])
def test_every_dependency_says_why_it_is_here(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    names = {re.split(r"[\[<>=~! ]", line)[0] for line in declared}
    table, _, sentence = section("Dependencies").partition("For development:")
    pattern, text = (r"^\| `([\w-]+)` \|", table) if extra is None else (r"`([\w-]+)`", sentence)
    told = re.findall(pattern, text, re.MULTILINE)
    assert set(told) == names


def test_every_file_the_readme_points_to_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
