"""What workbench and sign-off say: one word for an answer, what changed about a tool, why nothing is to sign."""

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from registry.catalog import services as catalog
from registry.core.errors import Conflict
from registry.reviews import services as reviews
from registry.reviews.comparison import changes, three_way
from registry.reviews.facts import evidence_of
from registry.reviews.models import Decision, SignOff, WorkItem
from registry.reviews.services.watch import check_items
from registry.trust.models import Grant
from tests import factories as make

pytestmark = pytest.mark.django_db

READS = [{"name": "query", "confirmed_class": "read", "description": "Runs a query."}]


@pytest.fixture
def reviewer():
    return make.person("reviewer", name="Rita Reviewer")


def evidence(thing):
    return evidence_of(type(thing).objects.get(pk=thing.pk)).evidence


def retool(server, **facts):
    tools = [{**READS[0], **facts}]
    catalog.set_tools(actor=make.acting(server.owner), server=server, tools=tools)


def page_of(client, item):
    return client.get(reverse("reviews:item", args=[item.campaign_id, item.pk])).content.decode()


def text(page):
    return " ".join(page.split())


def settled(reviewer, **facts):
    """A server that was certified once, and its item in the next campaign."""
    server = make.active_server(tools=READS, **facts)
    first = make.campaign(reviewer, kinds=["server"])
    make.decide(first.items.get())
    make.sign(first, reviewer)
    again = make.campaign(reviewer, kinds=["server"])
    return server, again.items.get()


class TestOneWord:
    def test_a_server_is_suspended_in_the_undo_bar_the_progress_and_the_receipt(self, client, reviewer):
        make.active_server(title="Ledger", tools=READS)
        make.active_server(title="Tickets", tools=READS)
        campaign = make.campaign(reviewer, kinds=["server"])
        first, second = campaign.items.order_by("label")
        make.decide(first, "revoke")
        client.force_login(reviewer)
        page = text(page_of(client, second))
        assert "Saved: <b>Suspend</b>" in page
        assert "1 suspended" in page
        assert "1 revoked" not in page
        signature = make.sign(campaign, reviewer)
        receipt = text(client.get(reverse("reviews:receipt", args=[signature.pk])).content.decode())
        assert "Suspend" in receipt
        assert "Revoke" not in receipt

    def test_a_grant_is_revoked(self, client, reviewer):
        server = make.active_server(tools=READS)
        make.grant(server=server)
        make.grant(server=server)
        campaign = make.campaign(reviewer, kinds=["grant"])
        first, second = campaign.items.order_by("label")
        make.decide(first, "revoke")
        client.force_login(reviewer)
        page = text(page_of(client, second))
        assert "Saved: <b>Revoke</b>" in page
        assert "1 revoked" in page


class TestChangedTool:
    def test_its_description_before_and_now(self):
        server = make.active_server(tools=READS)
        before = evidence(server)
        retool(server, description="Runs <b>anything</b>.", confirmed_class="execute")
        (change,) = changes(before, evidence(server))
        assert change.detail == "Read became Execute; its description changed"
        assert (change.before, change.after) == ("Runs a query.", "Runs <b>anything</b>.")

    def test_what_is_quoted_is_inert(self, client, reviewer):
        server, item = settled(reviewer)
        retool(server, description="Runs <b>anything</b>.")
        check_items(item_ids=[item.pk])
        client.force_login(reviewer)
        page = page_of(client, item)
        assert '<del dir="auto">Runs a query.</del>' in page
        assert '<ins dir="auto">Runs &lt;b&gt;anything&lt;/b&gt;.</ins>' in page

    def test_all_evidence_quotes_it_too(self, client, reviewer):
        server, item = settled(reviewer)
        retool(server, description="Runs anything.")
        client.force_login(reviewer)
        page = client.get(reverse("reviews:item", args=[item.campaign_id, item.pk]) + "?evidence=all").content.decode()
        table = page.split('id="all"')[1]
        assert "Runs a query." in table
        assert "Runs anything." in table


def test_the_purpose_of_a_grant_is_what_it_says():
    server = make.active_server(tools=READS)
    grant = make.grant(server=server)
    launch = evidence(grant)
    (row,) = (row for row in three_way(None, launch, None) if row.section == "purpose")
    assert row.launch.value == grant.purpose.statement
    # A newer purpose of the server is not that of the grant.
    purpose = server.purpose
    catalog.set_purpose(
        actor=make.acting(server.owner), server=server, statement="Something new", in_scope=purpose.in_scope,
        out_of_scope=purpose.out_of_scope, data_classes=purpose.data_classes, ends_on=purpose.ends_on,
    )  # fmt: skip
    (row,) = (row for row in three_way(None, launch, evidence(grant)) if row.section == "purpose")
    assert row.now.value == Grant.objects.get(pk=grant.pk).purpose.statement == purpose.statement


class TestNothingToSign:
    def sign_again(self, client, campaign):
        return client.post(
            reverse("reviews:sign_off", args=[campaign.pk]),
            {"statement": "I looked.", "password": make.PASSWORD, "expected": ""},
        )

    def test_another_tab_signed(self, client, reviewer):
        make.active_server(tools=READS)
        make.active_server(tools=READS)
        campaign = make.campaign(reviewer, kinds=["server"])
        make.decide(campaign.items.first())
        signature = make.sign(campaign, reviewer)
        client.force_login(reviewer)
        for answer in (self.sign_again(client, campaign), client.get(reverse("reviews:sign_off", args=[campaign.pk]))):
            page = text(answer.content.decode())
            assert "You signed 1 decision on" in page
            assert reverse("reviews:receipt", args=[signature.pk]) in page
            assert "Decide on at least one item first" not in page
        with pytest.raises(Conflict, match="You signed 1 on"):
            make.sign(campaign, reviewer)

    def test_somebody_else_was_first(self, client, reviewer):
        other = make.person("reviewer", name="Otto Other")
        make.active_server(tools=READS)
        campaign = make.campaign(
            kinds=["server"],
            stages=[{"reviewers": [reviewer, other], "reviewers_per_item": 2, "strategy": "first_valid_decides"}],
        )
        item = campaign.items.get()
        assert item.work_items.count() == 2
        for held in item.work_items.all():
            reviews.save_decision(
                actor=make.acting(held.reviewer),
                work_item=WorkItem.objects.get(pk=held.pk),
                value="certify",
                reason="Fine",
                evidence_hash=item.evidence_hash,
            )
        client.force_login(reviewer)
        assert "the first answer that is signed decides" in text(page_of(client, item))
        make.sign(campaign, other)
        assert not Decision.objects.filter(work_item__reviewer=reviewer).exists()
        page = text(client.get(reverse("reviews:sign_off", args=[campaign.pk])).content.decode())
        assert "Otto Other signed on" in page
        assert str(item) in page
        assert SignOff.objects.filter(reviewer=reviewer).count() == 0

    def test_nobody_decided_anything(self, client, reviewer):
        make.active_server(tools=READS)
        campaign = make.campaign(reviewer, kinds=["server"])
        client.force_login(reviewer)
        page = client.get(reverse("reviews:sign_off", args=[campaign.pk])).content.decode()
        assert "Decide on at least one item first." in page


class TestQueue:
    def test_what_was_never_certified_is_not_offered_to_be_decided_together(self, client, reviewer):
        make.active_server(tools=READS)
        item = make.campaign(reviewer, kinds=["server"]).items.get()
        client.force_login(reviewer)
        page = page_of(client, item)
        assert 'name="item"' not in page
        assert "Decide all alike" not in page

    def test_what_is_as_it_was_certified_is(self, client, reviewer):
        _server, item = settled(reviewer)
        assert item.tier in ("low", "medium")
        client.force_login(reviewer)
        page = page_of(client, item)
        assert f'name="item" value="{item.pk}"' in page
        assert "?item=" in page

    def test_a_server_by_its_title_and_then_its_full_name(self, client, reviewer):
        make.active_server(tools=READS, name="com.atlassian/mcp", title="Atlassian")
        make.active_server(tools=READS, name="com.example/mcp", title="")
        campaign = make.campaign(reviewer, kinds=["server"])
        client.force_login(reviewer)
        queue = text(page_of(client, campaign.items.first()).split('class="qlist"')[1].split("</section>")[0])
        assert '<span>Atlassian</span> <span class="mono full">com.atlassian/mcp</span>' in queue
        assert '<span class="mono">com.example/mcp</span>' in queue

    def test_its_size_is_that_of_what_its_page_shows(self, client, reviewer):
        server = make.active_server(tools=READS)
        item = make.campaign(reviewer, kinds=["server"]).items.get()
        tools = [*READS, {"name": "list", "confirmed_class": "read"}]
        catalog.set_tools(actor=make.acting(server.owner), server=server, tools=tools)
        check_items(item_ids=[item.pk])
        held = make.work_of(item)
        reviews.confirm_facts(
            actor=make.acting(reviewer), work_item=held, evidence_hash=evidence_of(held.item.subject).evidence_hash
        )
        client.force_login(reviewer)
        queue = page_of(client, item).split('class="qlist"')[1].split("</section>")[0]
        assert "2 tools" in queue
        assert "1 tool<" not in queue


@pytest.mark.django_db(transaction=True)
def test_on_a_phone_a_refusal_is_in_view(reviewer, new_page):
    server = make.active_server(
        tools=[*READS, {"name": "purge", "confirmed_class": "destructive"}], data_classes=("restricted",)
    )
    make.connection(server=server, system=make.system(data_class="restricted"), access="write")
    item = make.campaign(reviewer, kinds=["server"]).items.get()
    assert item.tier == "critical"
    page = new_page(reviewer, viewport={"width": 390, "height": 844})
    page.goto(reverse("reviews:item", args=[item.campaign_id, item.pk]))
    page.locator("[value=certify]").check(force=True)
    page.locator("#reason").fill("Fine")
    page.get_by_role("button", name="Save and go to next").click()
    said = page.locator(".unread")
    expect(said).to_be_focused()
    expect(said).to_be_in_viewport(ratio=0.9)
