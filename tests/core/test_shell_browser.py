"""The shell in a real browser: keys, drawer, nothing that axe finds, nothing that scrolls sideways."""

import re

import pytest
from django.conf import settings
from django.db import transaction

from registry.audit.services import record, seal_events
from tests.browser import press, settled, violations
from tests.factories import acting, person, team

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def admin(transactional_db):
    user = person("member", "administrator", name="Ada Kowalski")
    with transaction.atomic():
        record(actor=acting(user), act="team.created", subject=team(name="Data Platform"), data={"reason": "new"})
    seal_events()
    return user


def pages_of(user):
    from registry.audit.models import Event

    return [
        "/help", "/account", "/account/tokens", "/people", "/people?q=nobody", "/people/new", f"/people/{user.pk}",
        "/teams", "/teams/new", "/audit", "/audit/chain", f"/audit/events/{Event.objects.first().pk}", "/no-such-page",
    ]  # fmt: skip


WIDEST = """[...document.querySelectorAll('main *')]
  .filter(each => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest('.scroll'))
  .map(each => each.outerHTML.slice(0, 100))[0]"""


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_every_page_is_accessible_and_fits(new_page, admin, scheme, width):
    page = new_page(admin, color_scheme=scheme, viewport={"width": width, "height": 844})
    troubles = {}
    for path in pages_of(admin):
        page.goto(path)
        settled(page)
        if found := violations(page):
            troubles[path] = found
        page.set_viewport_size({"width": 320, "height": 700})
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wider > 0:
            troubles.setdefault(path, []).append(f"{wider} px wider than a small screen: {page.evaluate(WIDEST)}")
        page.set_viewport_size({"width": width, "height": 844})
    assert not troubles, "\n".join(f"{path}: {found}" for path, found in troubles.items())


def test_the_sign_in_page_is_accessible(page):
    page.goto("/sign-in")
    assert not violations(page)


def test_keys_go_filter_move_and_open(new_page, admin):
    for name in ("Ines Moreau", "Jonas Keller"):
        person(name=name)
    page = new_page(admin)
    page.goto("/people")
    press(page, "/")
    page.keyboard.type("keller jk/?")  # letters in a field are letters
    assert page.input_value("[data-filters] [name=q]") == "keller jk/?"
    page.fill("[data-filters] [name=q]", "keller")
    page.wait_for_url(re.compile(r"\?q=keller$"))
    page.get_by_text("Ines Moreau").wait_for(state="detached")
    page.locator("h1").click()
    press(page, "j")
    press(page, "o")
    page.wait_for_url(re.compile("/people/[0-9a-f-]{36}$"))
    press(page, "g")
    press(page, "l")
    page.wait_for_url("**/audit")
    press(page, "?")
    assert page.locator("dialog#help").is_visible()
    press(page, "Escape")
    assert not page.locator("dialog#help").is_visible()


def test_single_keys_can_be_switched_off(new_page, admin):
    admin.single_keys = False
    admin.save()
    page = new_page(admin)
    page.goto("/people")
    press(page, "?")
    assert not page.locator("dialog#help").is_visible()
    page.get_by_role("link", name="Help and shortcuts").click()
    assert page.locator("dialog#help").is_visible(), "the control itself still works"


def test_a_page_without_scripts_has_its_drawer_menus_and_theme(new_page, admin):
    page = new_page(admin, java_script_enabled=False, viewport={"width": 390, "height": 844})
    page.goto("/account")
    assert not page.locator("#navigation").is_visible()
    page.get_by_role("button", name="Menu", exact=True).click()
    page.locator("#navigation").get_by_role("link", name="Audit trail").click()
    page.wait_for_url("**/audit")
    page.locator("summary[aria-label='Colour theme']").click()
    page.locator(".top").get_by_role("button", name="Dark").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_leaving_a_changed_form_asks_first(new_page, admin):
    page = new_page(admin)
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto("/teams/new")
    page.fill("[name=name]", "Half a te")
    page.goto("/teams")
    assert asked == ["beforeunload"]


def test_a_failed_panel_offers_to_try_again_and_the_page_lives(browser, live_server, admin, web):
    """Not through `new_page`, which takes the failure that is wanted here for one of the page."""
    context = browser.new_context(base_url=live_server.url)
    session = web(admin).cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
    page = context.new_page()
    page.route("**/audit/story/**", lambda route: route.abort())
    page.goto(f"/people/{admin.pk}")
    retry = page.get_by_role("button", name="Try again")
    retry.wait_for()
    assert "No answer from the server" in page.locator("#toasts").inner_text()
    page.unroute("**/audit/story/**")
    retry.click()
    page.locator("#panel-story .story").wait_for()
    context.close()
