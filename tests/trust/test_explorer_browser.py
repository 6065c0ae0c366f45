"""The explorer in a real browser: questions without a reload, keys, zoom, narrow screens, no scripts, accessibility."""

import re

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from registry.trust import services
from tests import factories as make
from tests.browser import press, settled, violations

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def member(transactional_db):
    """Forecast agent and Chat bot call the Warehouse, which writes the Ledger; Chat bot also mails."""
    warehouse, mailer = make.active_server(title="Warehouse"), make.active_server(title="Mailer")
    bot = make.agent(name="Chat bot")
    make.grant(agent=make.agent(name="Forecast agent"), server=warehouse)
    make.grant(agent=bot, server=warehouse)
    make.grant(agent=bot, server=mailer)
    make.connection(server=warehouse, system=make.system(name="Ledger", data_class="restricted"), access="write")
    make.connection(server=warehouse, system=make.system(name="Archive"))
    make.connection(server=mailer, system=make.system(name="Mail", kind="messaging"), access="write")
    return make.person("member", name="Mia Member")


def box(page, name):
    return page.locator("a.box").filter(has_text=name)


def focused(page):
    return page.evaluate("document.activeElement.querySelector('.name')?.textContent ?? ''")


def test_from_the_navigation_to_an_answer_with_the_keyboard(member, new_page):
    page = new_page(member)
    page.goto("/")
    press(page, "g")
    press(page, "t")
    page.wait_for_url(re.compile(r"/trust/explore/$"))
    page.get_by_label("Question").select_option("reaches")
    page.get_by_label("About").fill("ledger")
    press(page, "Enter")
    expect(page.locator(".sentence")).to_have_text("2 agents reach Ledger, through 1 server.")
    # Asked without a reload, and the address can be shared: it names by id.
    page.wait_for_url(re.compile(r"ask=reaches&of=system:[0-9a-f-]{36}$"))
    expect(page.get_by_label("About")).to_have_value("Ledger")
    expect(box(page, "Mailer")).to_have_count(0)
    page.go_back()
    page.wait_for_url(re.compile(r"/trust/explore/$"))
    expect(box(page, "Mailer")).to_have_count(1)


def test_suggestions_appear_while_typing(member, new_page):
    page = new_page(member)
    page.goto(reverse("trust:explore"))
    page.get_by_label("Question").select_option("reach")
    page.get_by_label("About").press_sequentially("chat")
    expect(page.locator("#ask-of-options option[value='Chat bot']")).to_have_count(1)


def test_arrows_walk_along_the_lines_and_enter_chooses_then_opens(member, new_page):
    page = new_page(member)
    page.goto(reverse("trust:explore") + "?ask=reach&of=Chat bot")
    agent = box(page, "Chat bot")
    expect(agent).to_have_attribute("tabindex", "0")  # one stop for the whole picture
    agent.focus()
    press(page, "ArrowRight")
    first = focused(page)
    assert first in ("Warehouse", "Mailer")
    press(page, "ArrowDown" if first == "Warehouse" else "ArrowUp")
    if focused(page) == first:
        press(page, "ArrowUp" if first == "Warehouse" else "ArrowDown")
    assert {first, focused(page)} == {"Warehouse", "Mailer"}
    box(page, "Mailer").focus()
    press(page, "ArrowRight")
    assert focused(page) == "Mail"
    press(page, "ArrowRight")
    assert focused(page) == "Mail"  # nothing further
    press(page, "ArrowLeft")
    press(page, "Enter")
    inspector = page.get_by_role("complementary", name="Selected")
    expect(inspector.get_by_role("heading", name="Mailer")).to_be_visible()
    expect(page.locator(".node.sel")).to_have_count(1)
    expect(page.locator(".node.dim").filter(has_text="Ledger")).to_have_count(1)
    expect(box(page, "Mailer")).to_be_focused()  # and the arrows go on from there
    press(page, "Enter")
    page.wait_for_url(re.compile(r"/servers/[0-9a-f-]{36}/$"))


def test_one_key_or_one_link_leads_to_the_picture(member, new_page):
    page = new_page(member)
    page.goto(reverse("trust:explore"))
    press(page, "p")
    assert focused(page) == "Chat bot"
    link = page.get_by_role("link", name="To the picture")
    link.focus()
    expect(link).to_be_in_viewport()
    press(page, "Enter")
    assert focused(page) == "Chat bot"


def test_opening_a_group_leaves_the_focus_in_the_picture(member, new_page):
    team = make.team(name="Data Platform")
    for number in range(3):
        grant = make.grant(agent=make.agent(name=f"Planner {number}", team=team))
        make.connection(server=grant.server, system=make.system())
    page = new_page(member)
    page.goto(f"{reverse('trust:explore')}?group=team")
    box(page, "Data Platform").first.focus()
    press(page, "Enter")
    page.wait_for_url(re.compile("sel=group:agent"))
    press(page, "Enter")
    expect(box(page, "Planner 0")).to_have_count(1)
    page.wait_for_function("document.activeElement.classList.contains('box')")
    assert focused(page).startswith("Planner")
    assert "sel=" not in page.url


def test_a_line_can_be_chosen(member, new_page):
    page = new_page(member)
    page.goto(reverse("trust:explore"))
    page.locator("a:has(> path.e.w)").dispatch_event("click")
    inspector = page.get_by_role("complementary", name="Selected")
    expect(inspector.get_by_role("heading", name="Warehouse → Ledger")).to_be_visible()
    expect(inspector.get_by_text("read and write").first).to_be_visible()


def test_zoom_by_key_and_button(member, new_page):
    page = new_page(member)
    page.goto(reverse("trust:explore"))
    width = "document.getElementById('chart').getBoundingClientRect().width"
    fits = page.evaluate(width)
    page.locator("body").press("+")
    page.locator("body").press("+")
    assert page.evaluate(width) > fits * 1.4
    page.locator("body").press("-")
    page.get_by_role("button", name="Fit the width").click()
    assert abs(page.evaluate(width) - fits) < 1
    page.get_by_label("Question").select_option("reach")
    page.get_by_label("About").press_sequentially("+0-")  # letters in a field are letters
    assert page.get_by_label("About").input_value() == "+0-"
    assert abs(page.evaluate(width) - fits) < 1


def test_a_filter_narrows_the_picture_at_once_and_is_undone(member, new_page):
    page = new_page(member)
    page.goto(reverse("trust:explore"))
    page.get_by_label("Restricted").check()
    page.wait_for_url(re.compile("data=restricted"))
    expect(box(page, "Archive")).to_have_count(0)
    expect(page.get_by_label("Restricted")).to_be_checked()
    page.get_by_role("link", name="Clear filters").click()
    expect(box(page, "Archive")).to_have_count(1)


@pytest.mark.parametrize("width", [390, 1024])
def test_on_narrow_screens_the_filters_are_a_drawer_that_stays_open(member, new_page, width):
    page = new_page(member, viewport={"width": width, "height": 800})
    page.goto(reverse("trust:explore"))
    filters = page.get_by_role("region", name="Filters")
    expect(filters).to_be_hidden()
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(filters).to_be_visible()
    page.get_by_label("Restricted").check()
    expect(box(page, "Archive")).to_have_count(0)
    expect(filters).to_be_visible()
    page.get_by_role("button", name="Close filters").click()
    expect(filters).to_be_hidden()
    expect(box(page, "Ledger")).to_be_visible()


def test_a_path_is_highlighted(member, new_page):
    page = new_page(member)
    page.goto(reverse("trust:explore") + "?ask=path&of=Chat bot&to=Ledger")
    page.get_by_role("link", name=re.compile("Chat bot → Warehouse → Ledger")).click()
    expect(page.locator("path.e.on")).to_have_count(2)


def test_the_table_twin_and_back(member, new_page):
    page = new_page(member)
    page.goto(reverse("trust:explore"))
    page.get_by_role("link", name="Table").click()
    table = page.get_by_role("region", name="The picture as a table")
    expect(table.get_by_role("row")).to_have_count(7)
    page.get_by_role("link", name="Picture").click()
    expect(page.locator("#chart")).to_be_visible()


def test_everything_works_without_scripts(member, new_page):
    page = new_page(member, java_script_enabled=False)
    page.goto(reverse("trust:explore"))
    page.get_by_label("Question").select_option("cut")
    page.get_by_label("About").fill("Warehouse")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".sentence")).to_have_text("Without Warehouse, 2 of 2 agents no longer reach something.")
    box(page, "Ledger").click()
    expect(page.get_by_role("complementary", name="Selected").get_by_role("heading", name="Ledger")).to_be_visible()
    page.get_by_label("Confidential").check()
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("heading", name="The filters hide everything")).to_be_visible()
    page.get_by_role("link", name="Clear filters").first.click()
    page.get_by_role("link", name="Table").click()
    expect(page.get_by_role("cell", name="Forecast agent")).to_be_visible()
    assert page.locator("[data-zoom]").is_hidden()  # what needs scripts is not shown


def test_it_prints_the_picture_and_not_the_controls(member, new_page):
    page = new_page(member)
    page.goto(reverse("trust:explore"))
    page.emulate_media(media="print")
    expect(page.locator("#chart")).to_be_visible()
    expect(page.get_by_role("button", name="Ask")).to_be_hidden()
    expect(page.get_by_text("The whole estate").first).to_be_visible()


WIDEST = """[...document.querySelectorAll('main *')]
  .filter(each => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest('.sheet, .scroll, .tabs, .seg'))
  .map(each => each.outerHTML.slice(0, 100))[0]"""


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1024), ("light", 390)])
def test_every_state_is_accessible_and_fits(member, new_page, scheme, width):
    services.create_combination(
        actor=make.acting(make.person("security")),
        name="Leak by mail",
        explanation="It mails what is restricted.",
        legs=[{"label": "Reads", "data_classes": ["restricted"]}, {"label": "Mails", "system_kinds": ["messaging"]}],
    )
    page = new_page(member, color_scheme=scheme, viewport={"width": width, "height": 844})
    explore = reverse("trust:explore")
    troubles = {}
    for path in (
        explore,
        f"{explore}?ask=cut&of=Warehouse",
        f"{explore}?ask=path&of=Chat bot&to=Ledger&path=1",
        f"{explore}?ask=reaches&of=nobody",
        f"{explore}?view=table&colour=certification",
        f"{explore}?group=kind",
        reverse("trust:combinations"),
        reverse("trust:hygiene"),
    ):
        page.goto(path)
        settled(page)
        if found := violations(page):
            troubles[path] = found
        if page.evaluate("document.documentElement.scrollWidth - innerWidth") > 0:
            troubles.setdefault(path, []).append(("too wide", page.evaluate(WIDEST)))
    assert not troubles, "\n".join(f"{path}: {found}" for path, found in troubles.items())


def test_the_page_stays_small(member, new_page):
    page = new_page(member)
    sizes = {}
    page.on("response", lambda response: sizes.update({response.url: len(response.body())}))
    page.goto(reverse("trust:explore"))
    settled(page)
    own = [size for url, size in sizes.items() if "explorer." in url]
    assert len(own) == 2
    assert max(own) < 60_000
    assert next(size for url, size in sizes.items() if url.endswith("/trust/explore/")) < 60_000
