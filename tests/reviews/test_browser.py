"""The workbench in a real browser: keys, switches, two tabs, narrow screens."""

import re

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from registry.reviews.models import Decision
from tests import factories as make
from tests.browser import press, violations

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def reviewed():
    reviewer = make.person("reviewer", name="Rita Reviewer")
    server = make.active_server(title="Warehouse SQL", name="com.example/warehouse-sql")
    make.grant(server=server, tools=["query", "export"], agent=make.agent(name="Forecast agent"))
    make.connection(server=server, system=make.system(name="Sales warehouse"))
    return make.campaign(reviewer), reviewer


def test_decided_and_signed_with_the_keyboard_alone(reviewed, new_page):
    campaign, reviewer = reviewed
    page = new_page(reviewer)
    page.goto(reverse("reviews:workbench", args=[campaign.pk]))
    expect(page.get_by_text("1 agent calls it")).to_be_visible()
    press(page, "j")
    expect(page.locator(".ihead")).to_contain_text("Forecast agent")
    press(page, "k")
    expect(page.locator(".ihead")).to_contain_text("com.example/warehouse-sql")
    assert page.locator("input[name=value]:checked").count() == 0

    press(page, "c")
    press(page, "Control+Enter")
    expect(page.locator(".ihead")).to_contain_text("Forecast agent")

    # Switching a tool off chooses Reduce and lists what goes.
    page.get_by_role("switch", name="Keep export").click()
    expect(page.get_by_role("radio", name=re.compile("Reduce"))).to_be_checked()
    expect(page.locator("[data-plan]")).to_have_text("export")
    page.locator("#reason").fill("Nobody exports any more.")
    press(page, "Control+Enter")

    expect(page.locator(".ihead")).to_contain_text("Sales warehouse")
    press(page, "t")
    expect(page.get_by_label("Certified until")).to_be_visible()
    press(page, "n")
    expect(page.get_by_label("Certified until")).to_be_hidden()
    press(page, "r")
    expect(page.get_by_text("loses Sales warehouse when you sign")).to_be_visible()
    press(page, "c")
    press(page, "Control+Enter")

    expect(page.get_by_text("3 decisions wait for your signature")).to_be_visible()
    page.get_by_role("link", name="Go to sign-off").click()
    page.get_by_label("Your password").fill(make.PASSWORD)
    page.get_by_role("button", name="Sign 3 decisions").click()
    expect(page.get_by_role("heading", name="Signed")).to_be_visible()
    assert campaign.sign_offs.get().decisions_root in page.locator("main").inner_text()


def test_undo_brings_the_item_back(reviewed, new_page):
    campaign, reviewer = reviewed
    item = campaign.items.get(kind="server")
    make.decide(item)
    page = new_page(reviewer)
    page.goto(reverse("reviews:item", args=[campaign.pk, item.pk]))
    expect(page.get_by_role("radio", name=re.compile("Certify"))).to_be_checked()
    press(page, "u")
    expect(page.get_by_text("Your answer is taken back.")).to_be_visible()
    assert not Decision.objects.exists()


def test_keys_do_nothing_while_typing(reviewed, new_page):
    campaign, reviewer = reviewed
    page = new_page(reviewer)
    page.goto(reverse("reviews:workbench", args=[campaign.pk]))
    page.locator("#reason").click()
    page.keyboard.type("crntuj")
    expect(page.locator("#reason")).to_have_value("crntuj")
    assert page.locator("input[name=value]:checked").count() == 0


def test_two_tabs(reviewed, new_page):
    campaign, reviewer = reviewed
    first, second = new_page(reviewer), new_page(reviewer)
    url = reverse("reviews:item", args=[campaign.pk, campaign.items.get(kind="server").pk])
    first.goto(url)
    second.goto(url)
    for page, key, reason in ((first, "c", ""), (second, "r", "From the other tab")):
        press(page, key)
        page.locator("#reason").fill(reason)
        press(page, "Control+Enter")
        page.wait_for_load_state()
    expect(second.get_by_text("Nothing was overwritten")).to_be_visible()
    expect(second.get_by_text("From the other tab")).to_be_visible()
    assert Decision.objects.get().value == "certify"


@pytest.mark.parametrize("width", [390, 1100])
def test_narrow_the_queue_is_a_drawer_and_nothing_scrolls_sideways(reviewed, new_page, width):
    campaign, reviewer = reviewed
    page = new_page(reviewer, viewport={"width": width, "height": 800})
    page.goto(reverse("reviews:workbench", args=[campaign.pk]))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    queue = page.get_by_role("region", name="Review queue")
    expect(queue).to_be_hidden()
    page.get_by_role("button", name=re.compile("Queue")).click()
    expect(queue).to_be_visible()
    queue.get_by_role("link", name=re.compile("Forecast agent")).click()
    expect(page.locator(".ihead")).to_contain_text("Forecast agent")
    # A telephone shows the way to the answers, and what saves one once there is one.
    if width == 390:
        page.get_by_role("link", name=re.compile("Choose")).click()
        page.get_by_label(re.compile("^Certify")).first.check(force=True)
    expect(page.get_by_role("button", name=re.compile("Save and go to next"))).to_be_in_viewport()


@pytest.mark.parametrize("name", ["campaign", "sign_off", "campaign_extend"])
def test_no_page_scrolls_sideways_on_a_telephone(reviewed, new_page, name):
    campaign, reviewer = reviewed
    make.decide(campaign.items.get(kind="server"))
    page = new_page(reviewer if name == "sign_off" else campaign.owner, viewport={"width": 390, "height": 844})
    page.goto(reverse(f"reviews:{name}", args=[campaign.pk]))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_accessible(reviewed, new_page, scheme, width):
    campaign, reviewer = reviewed
    item = campaign.items.get(kind="grant")
    make.decide(campaign.items.get(kind="server"))
    for person, url in (
        (reviewer, reverse("reviews:item", args=[campaign.pk, item.pk])),
        (reviewer, reverse("reviews:sign_off", args=[campaign.pk])),
        (campaign.owner, reverse("reviews:campaign", args=[campaign.pk])),
        (campaign.owner, reverse("reviews:template_edit", args=[campaign.template_id])),
    ):
        page = new_page(person, viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(url)
        assert not violations(page), url
