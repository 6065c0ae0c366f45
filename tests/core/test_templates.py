"""Rules of the templates and static files that no type checker sees."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.template.loader import get_template

from registry.core.icons import Icon

TEMPLATES = settings.BASE_DIR / "templates"
STATIC = settings.BASE_DIR / "static"
LIMIT = 60 * 1024


def without_comments(path: Path) -> bytes:
    return re.sub(rb"/\*.*?\*/", b"", path.read_bytes(), flags=re.S) if path.suffix == ".css" else path.read_bytes()


def templates() -> list[Path]:
    return sorted(TEMPLATES.rglob("*.html"))


def name_of(path: Path) -> str:
    return str(path.relative_to(TEMPLATES))


@pytest.mark.parametrize("path", templates(), ids=name_of)
class TestEveryTemplate:
    def test_compiles(self, path):
        get_template(name_of(path))

    def test_has_no_inline_code(self, path):
        """The content security policy would ignore it: the page would look broken or do nothing."""
        text = path.read_text()
        assert not re.search(r"<style\b", text)
        assert not re.search(r"<script\b(?![^>]*\bsrc=)", text)
        assert not re.search(r"""\s(style|on[a-z]+|hx-on[:\w-]*)\s*=\s*["']""", text)
        assert "javascript:" not in text

    def test_draws_only_known_icons(self, path):
        text = path.read_text()
        used = re.findall(r"{%\s*icon\s+[\"']([\w-]+)[\"']", text) + re.findall(r"\sicon=[\"']([\w-]+)[\"']", text)
        assert not [name for name in used if name not in list(Icon)]

    def test_forms_that_change_something_carry_the_token(self, path):
        for form in re.findall(r"<form\b[^>]*method=\"post\".*?</form>", path.read_text(), flags=re.S | re.I):
            assert "{% csrf_token %}" in form, form[:200]

    def test_htmx_only_enhances(self, path):
        """Whatever htmx sends is also sent by a real form of the page, so that the act works without scripts."""
        text = path.read_text()
        if re.search(r"\bhx-(post|put|patch|delete)=", text) and "{% extends" in text:
            assert re.search(r"<form\b[^>]*\bmethod=[\"']post[\"']", text)


@pytest.mark.parametrize("kind", ["css", "js"])
def test_what_a_page_loads_stays_small(kind):
    """What every page links plus the largest that a page adds of its own; htmx comes from its package.

    Comments of style sheets are not counted: they are for us, and compression leaves next to nothing of them.
    """
    sizes = {path.name: len(without_comments(path)) for path in (STATIC / kind).glob(f"*.{kind}")}
    base = (TEMPLATES / "base.html").read_text()
    entry = (STATIC / "js/app.js").read_text()
    everywhere = {name for name in sizes if f"{kind}/{name}" in base or (kind == "js" and f"./{name}" in entry)}
    own = max((size for name, size in sizes.items() if name not in everywhere), default=0)
    assert everywhere and sum(sizes[name] for name in everywhere) + own < LIMIT, sizes


def test_colours_are_named_once():
    """Outside the token layer nobody writes a colour, else dark mode misses it."""
    linked = re.findall(r"{% static 'css/([\w-]+\.css)' %}", (TEMPLATES / "base.html").read_text())
    assert "app.css" in linked
    for name in linked:
        text = re.sub(r"@layer tokens \{.*?\n\}", "", (STATIC / "css" / name).read_text(), flags=re.S)
        screen = re.sub(r"@media print \{.*?\n  \}", "", text, flags=re.S)
        assert not (found := re.findall(r"#[0-9a-fA-F]{3,8}\b", screen)), f"{name}: {found}"
