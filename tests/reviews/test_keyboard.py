"""A reviewer's whole day without a mouse, without scripts, and in two tabs: the workbench in a real browser."""

import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from registry.catalog import services as catalog
from registry.core import clock
from registry.reviews.models import Decision, Item, WorkItem, WorkItemMove
from registry.reviews.states import ItemState
from tests import factories as make
from tests.browser import press, violations

pytestmark = pytest.mark.django_db(transaction=True)

CALM = [{"name": "query", "confirmed_class": "read"}, {"name": "list", "confirmed_class": "read"}]
HARSH = [*CALM, {"name": "purge", "confirmed_class": "destructive"}]
UNHURRIED = 30
"""How much faster the test's clock runs than the test: its reviewer takes half a minute where a machine takes one
second, because who decides faster than one can read may not sign alone."""


@pytest.fixture
def unhurried(monkeypatch):
    start = timezone.now()
    monkeypatch.setattr(
        clock,
        "timezone",
        SimpleNamespace(now=lambda: start + (timezone.now() - start) * UNHURRIED, localdate=timezone.localdate),
    )


@pytest.fixture
def reviewer():
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def twenty(reviewer):
    """Twenty items of every kind and of low to critical tiers; security takes over what somebody steps back from."""
    make.person("security", name="Sami Security")
    servers = [
        make.active_server(title="Warehouse SQL", name="com.example/warehouse-sql", tools=CALM),
        make.active_server(title="Deploy runner", name="com.example/deploy", tools=HARSH, data_classes=("restricted",)),
        make.active_server(title="Directory", name="com.example/directory", tools=CALM),
        make.active_server(title="Tickets", name="com.example/tickets", tools=CALM),
    ]
    agents = [make.agent(name=f"{name} agent") for name in ("Forecast", "Release", "Onboarding", "Support")]
    for server, agent in zip(servers, agents, strict=True):
        make.grant(server=server, agent=agent)
        make.grant(server=server, agent=agents[0] if agent is not agents[0] else agents[1])
    for index, server in enumerate(servers):
        data = "restricted" if index == 1 else "internal"
        system = make.system(name=f"System of {server.title}", data_class=data)
        make.connection(server=server, system=system, access="write" if index == 1 else "read")
    campaign = make.campaign(
        kinds=["server", "grant", "connection", "agent"],
        stages=[{"reviewers": [reviewer], "fallback": ["security"]}],
    )
    assert campaign.items.count() == 20
    return campaign


def plan(campaign):
    """What the reviewer will answer, by item; whatever is not named is certified."""
    answers = {}
    grants = list(campaign.items.filter(kind="grant", tier__in=["low", "medium"]).order_by("label"))
    answers[grants[0].pk] = "certify_reduced"
    answers[grants[1].pk] = "certify_until"
    answers[grants[2].pk] = "not_decided"
    answers[grants[3].pk] = "recuse"
    answers[campaign.items.get(kind="connection", tier__in=["high", "critical"]).pk] = "certify_reduced"
    answers[campaign.items.filter(kind="connection", tier__in=["low", "medium"]).first().pk] = "revoke"
    answers[campaign.items.filter(kind="agent", tier__in=["low", "medium"]).first().pk] = "revoke"
    answers[campaign.items.filter(kind="server", tier__in=["low", "medium"]).first().pk] = "certify_until"
    return answers


def type_reason(page, words):
    press(page, "w")
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type(words)


def send(page):
    with page.expect_navigation():
        press(page, "Control+Enter")


def answer_with_keys(page, item, value):
    """One item from its heading to the next page, with keys alone."""
    expect(page.locator("#item")).to_be_focused()
    if item.tier == "critical":
        press(page, "e")
        expect(page.get_by_role("heading", name="What is signed")).to_be_visible()
        expect(page.locator("#all")).to_be_focused()
    if value == "recuse":
        with page.expect_navigation():
            press(page, "s")
        expect(page.locator("#id_reason")).to_be_focused()
        page.keyboard.type("My sister runs it.")
        send(page)
        return
    key = {"certify": "c", "certify_reduced": "d", "certify_until": "t", "revoke": "r", "not_decided": "n"}[value]
    press(page, key)
    assert page.locator("input[name=value]:checked").get_attribute("value") == value
    match value:
        case "certify_reduced":
            # d leads to the switches; the last one goes.
            expect(page.locator("[data-keep]").first).to_be_focused()
            for _ in range(page.locator("[data-keep]").count() - 1):
                press(page, "Tab")
            press(page, "Space")
            expect(page.locator("[data-plan] li")).to_have_count(1)
        case "certify_until":
            press(page, "Tab")
            expect(page.locator("#until")).to_be_focused()
            page.keyboard.type(f"{clock.today() + timedelta(days=20):%d%m%Y}")
            press(page, "Escape")
    type_reason(page, f"Reason for {value}.")
    send(page)
    if str(item.pk) in page.url:
        # A first own answer on a high tier, and the rules see it differently: read, then confirm.
        expect(page.get_by_text("The rules see it differently:")).to_be_visible()
        send(page)


def test_twenty_varied_items_decided_and_signed_with_the_keyboard_alone(twenty, reviewer, new_page, unhurried):
    campaign, answers = twenty, plan(twenty)
    page = new_page(reviewer)
    page.goto(reverse("reviews:inbox"))
    page.goto(reverse("reviews:workbench", args=[campaign.pk]))
    seen = []
    for _ in range(20):
        pk = re.search(r"/items/([0-9a-f-]+)/", page.url)[1]
        item = Item.objects.get(pk=pk)
        seen.append(item.pk)
        answer_with_keys(page, item, answers.get(item.pk, "certify"))
    assert len(set(seen)) == 20
    expect(page.get_by_role("heading", name="All decided")).to_be_visible()
    expect(page.locator("[data-announce]")).to_have_text("19 of 19 decided")
    drafts = {draft.work_item.item_id: draft for draft in Decision.objects.select_related("work_item")}
    assert {pk: draft.value for pk, draft in drafts.items()} == {
        pk: answers.get(pk, "certify") for pk in seen if answers.get(pk) != "recuse"
    }
    assert {item.kind for item in Item.objects.filter(pk__in=drafts)} == {"server", "grant", "connection", "agent"}
    stepped_back = WorkItemMove.objects.get(kind="recused")
    assert (stepped_back.note, stepped_back.to_reviewer.name) == ("My sister runs it.", "Sami Security")
    assert all(draft.reason for draft in drafts.values())

    send(page)  # the one thing to do next: to the signature
    expect(page.get_by_role("heading", name="Sign off your decisions")).to_be_visible()
    for _ in range(80):
        if page.evaluate("document.activeElement.id") == "id_password":
            break
        press(page, "Tab")
    page.keyboard.type(make.PASSWORD)
    send(page)
    expect(page.get_by_role("heading", name="Signed", exact=True)).to_be_visible()
    assert Decision.objects.filter(signed_at=None).count() == 0
    assert campaign.sign_offs.get().decision_count == 19


@pytest.fixture
def three(reviewer):
    for name in ("Aardvark", "Beaver", "Cormorant"):
        make.active_server(title=name, name=f"com.example/{name.lower()}", tools=CALM)
    return make.campaign(reviewer, kinds=["server"])


def test_the_key_opens_all_evidence_in_place_and_the_server_knows(three, reviewer, new_page):
    page = new_page(reviewer)
    page.goto(reverse("reviews:workbench", args=[three.pk]))
    press(page, "c")
    type_reason(page, "Half a sentence")
    press(page, "Escape")
    assert not WorkItem.objects.filter(evidence_opened_at__isnull=False).exists()
    press(page, "e")
    expect(page.get_by_role("heading", name="What is signed")).to_be_visible()
    expect(page.locator("#reason")).to_have_value("Half a sentence")
    assert WorkItem.objects.filter(evidence_opened_at__isnull=False).count() == 1
    send(page)
    assert Decision.objects.get().opened_evidence_at is not None


def test_a_missing_reason_is_typed_at_once(three, reviewer, new_page):
    page = new_page(reviewer)
    page.goto(reverse("reviews:workbench", args=[three.pk]))
    press(page, "r")
    send(page)
    expect(page.locator("#refused")).to_contain_text("Give a reason")
    expect(page.locator("#reason")).to_be_focused()


def test_on_a_phone_the_bar_says_what_is_chosen(three, reviewer, new_page):
    page = new_page(reviewer, viewport={"width": 390, "height": 844})
    page.goto(reverse("reviews:workbench", args=[three.pk]))
    bar, save = page.locator(".dfoot"), page.get_by_role("button", name=re.compile("Save and go to next"))
    head, top = page.locator("#item").bounding_box(), page.locator(".top").bounding_box()
    assert head["y"] >= top["y"] + top["height"], "the heading is under the top bar"
    expect(save).to_be_hidden()
    bar.get_by_role("link", name="Choose…").click()
    page.get_by_role("radio", name=re.compile("Time-box")).check()
    expect(bar.get_by_role("link", name="Time-box")).to_be_in_viewport()
    expect(save).to_be_in_viewport()


def test_undo_from_the_next_item(three, reviewer, new_page):
    page = new_page(reviewer)
    page.goto(reverse("reviews:workbench", args=[three.pk]))
    first = page.url
    press(page, "c")
    send(page)
    expect(page.get_by_text("1 of 3 decided").first).to_be_visible()
    with page.expect_navigation():
        press(page, "u")
    expect(page.get_by_text("Your answer is taken back.")).to_be_visible()
    assert page.url == first
    assert not Decision.objects.exists()


def test_filter_select_and_decide_together(three, reviewer, new_page):
    # What is new is looked at alone: these were certified before.
    for item in three.items.all():
        make.decide(item)
    make.sign(three, reviewer)
    again = make.campaign(reviewer, kinds=["server"])
    page = new_page(reviewer)
    page.goto(reverse("reviews:workbench", args=[again.pk]))
    expect(page.get_by_role("button", name="Decide on the selected together")).to_be_hidden()
    press(page, "x")
    with page.expect_navigation():
        press(page, "j")
    press(page, "x")
    chosen = page.get_by_role("button", name="Decide on the selected together")
    expect(chosen).to_contain_text("2")
    with page.expect_navigation():
        press(page, "g")
    assert page.url.count("item=") == 2
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.go_back()
    press(page, "/")
    page.keyboard.type("cormorant")
    with page.expect_navigation():
        press(page, "Enter")
    expect(page.locator(".ihead")).to_contain_text("Cormorant")
    expect(page.locator(".q")).to_have_count(1)


def test_help_lists_the_keys_and_single_keys_can_be_switched_off(three, reviewer, new_page):
    page = new_page(reviewer)
    page.goto(reverse("reviews:workbench", args=[three.pk]))
    press(page, "?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    for words in ("Certify for a time", "Not sure", "All evidence", "Decide on the selected together", "Undo"):
        expect(dialog.get_by_text(words, exact=True)).to_be_visible()
    press(page, "c")
    press(page, "Escape")
    assert page.locator("input[name=value]:checked").count() == 0
    reviewer.single_keys = False
    reviewer.save()
    page.reload()
    for key in "cdtrnjkoeusxg?":
        press(page, key)
    assert page.locator("input[name=value]:checked").count() == 0
    expect(dialog).to_be_hidden()


def test_escape_leaves_the_field_and_keys_mean_something_again(three, reviewer, new_page):
    page = new_page(reviewer)
    page.goto(reverse("reviews:workbench", args=[three.pk]))
    press(page, "w")
    page.keyboard.type("core")
    expect(page.locator("#reason")).to_have_value("core")
    press(page, "Escape")
    press(page, "r")
    expect(page.get_by_role("radio", name=re.compile("Suspend"))).to_be_checked()


def test_a_second_tab_replaces_knowingly(three, reviewer, new_page):
    first, second = new_page(reviewer), new_page(reviewer)
    url = reverse("reviews:item", args=[three.pk, three.items.first().pk])
    for page in (first, second):
        page.goto(url)
    press(first, "c")
    send(first)
    press(second, "r")
    type_reason(second, "Nobody uses it.")
    send(second)
    notice = second.locator("[data-errors]")
    expect(notice).to_contain_text("Nothing was overwritten")
    expect(notice).to_contain_text("Certify")
    expect(notice).to_be_focused()
    expect(second.locator("#reason")).to_have_value("Nobody uses it.")
    assert Decision.objects.get().value == "certify"
    send(second)
    assert Decision.objects.get().value == "revoke"


def test_changed_facts_are_seen_and_confirmed_with_the_keyboard(three, reviewer, new_page):
    item = three.items.first()
    catalog.set_tools(actor=make.acting(item.server.owner), server=item.server, tools=HARSH)
    page = new_page(reviewer)
    page.goto(reverse("reviews:item", args=[three.pk, item.pk]))
    expect(page.get_by_text("The decision is locked until you have seen it")).to_be_visible()
    expect(page.get_by_role("radio")).to_have_count(0)
    send(page)
    press(page, "c")
    expect(page.get_by_role("radio", name=re.compile("Certify"))).to_be_checked()
    assert Item.objects.get(pk=item.pk).state == ItemState.IN_REVIEW


def test_without_scripts_from_the_inbox_to_the_receipt(three, reviewer, new_page):
    """Decide, reduce nothing, undo, hand over, see changed facts, step back and sign: plain forms and links."""
    security = make.person("security", name="Sami Security")
    moved = three.items.get(server__title="Cormorant")
    catalog.set_tools(actor=make.acting(moved.server.owner), server=moved.server, tools=HARSH)
    page = new_page(reviewer, java_script_enabled=False)
    page.goto(reverse("reviews:inbox"))
    page.get_by_role("link", name=re.compile("^Start")).click()
    page.get_by_role("radio", name=re.compile("Certify")).check()
    page.locator("#reason").fill("Looked at everything.")
    page.get_by_role("button", name=re.compile("Save and go to next")).click()
    page.get_by_role("button", name=re.compile("Undo")).click()
    expect(page.get_by_text("Your answer is taken back.")).to_be_visible()
    page.get_by_role("radio", name=re.compile("Certify")).check()
    page.locator("#reason").fill("Looked at everything.")
    page.get_by_role("button", name=re.compile("Save and go to next")).click()
    page.get_by_role("link", name="Delegate to somebody else").click()
    page.get_by_label("To").select_option(label=security.name)
    page.get_by_label("Note").fill("You know it better.")
    page.get_by_role("button", name="Hand over").click()
    expect(page.locator(".ihead")).to_contain_text("Cormorant")
    page.get_by_role("button", name=re.compile("I have seen this")).click()
    page.get_by_role("radio", name=re.compile("Suspend")).check()
    page.locator("#reason").fill("It may purge now.")
    page.get_by_role("button", name=re.compile("Save and go to next")).click()
    page.goto(reverse("reviews:sign_off", args=[three.pk]))
    page.get_by_label("Your password").fill(make.PASSWORD)
    page.get_by_role("button", name=re.compile("^Sign 2")).click()
    expect(page.get_by_role("heading", name="Signed", exact=True)).to_be_visible()
    assert set(Decision.objects.filter(signed_at__isnull=False).values_list("value", flat=True)) == {
        "certify",
        "revoke",
    }
    assert WorkItem.objects.get(reviewer=security).state == "open"


@pytest.mark.parametrize(("scheme", "width"), [("dark", 390), ("light", 1440)])
def test_accessible_in_every_state(twenty, reviewer, new_page, scheme, width):
    campaign = twenty
    moved = campaign.items.filter(kind="server", tier__in=["low", "medium"]).first()
    catalog.set_tools(actor=make.acting(moved.server.owner), server=moved.server, tools=HARSH)
    page = new_page(reviewer, viewport={"width": width, "height": 900}, color_scheme=scheme)

    def check(url, act=None):
        page.goto(url)
        if act:
            act()
        assert not violations(page), url
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.documentElement.scrollHeight") <= 900 or width < 761

    def item(**which):
        return reverse("reviews:item", args=[campaign.pk, campaign.items.filter(**which).first().pk])

    check(reverse("reviews:inbox"))
    check(item(pk=moved.pk))
    check(item(kind="agent"), lambda: press(page, "e"))
    check(item(kind="connection"), lambda: press(page, "r"))
    check(f"{item(kind='grant')}?by=system&kind=grant", lambda: press(page, "d"))
    check(reverse("reviews:recuse", args=[campaign.pk, campaign.items.first().pk]))
    check(reverse("reviews:workbench", args=[campaign.pk]) + "?q=nothing-like-it")
