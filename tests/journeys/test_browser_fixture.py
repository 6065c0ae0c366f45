"""The browser that journeys use: styles and scripts arrive, and a page that errs fails its test."""

import pytest

from tests.factories import person


@pytest.mark.django_db(transaction=True)
def test_a_signed_in_page_has_its_styles(new_page):
    page = new_page(person(name="Mina Member"))
    page.goto("/")
    assert page.evaluate("getComputedStyle(document.body).getPropertyValue('--bg') || document.styleSheets.length")
    assert page.locator("main").is_visible()
