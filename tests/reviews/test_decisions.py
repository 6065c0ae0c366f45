"""Drafts: what they must say, how long they took, what was opened, and that two tabs cannot overwrite each other."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from registry.accounts.models import User
from registry.catalog import services as catalog
from registry.core import clock
from registry.core.errors import Changed, Invalid
from registry.reviews import services as reviews
from registry.reviews.facts import evidence_of
from registry.reviews.models import Decision, Item, WorkItem
from registry.reviews.services.decisions import time_taken
from registry.reviews.services.items import review_version
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer() -> User:
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def server():
    return make.active_server()


def item_of(reviewer: User, *, tier: str = "") -> Item:
    server = make.active_server()
    if tier:
        make.override_tier(server, tier)
    return make.campaign(reviewer, kinds=["server"]).items.get(server=server)


def save(item: Item, value: str = "certify", **facts) -> Decision:
    """As the reviewer, without having opened anything."""
    held = make.work_of(item)
    values = {"reason": "Looked at it.", "evidence_hash": item.evidence_hash, **facts}
    return reviews.save_decision(actor=make.acting(held.reviewer), work_item=held, value=value, **values)


class TestStrictPart:
    """Invariant 12: a reduction keeps a strict, non-empty part."""

    @pytest.mark.parametrize("kept", [[], ["query", "export"], ["drop_table"], ["query", "drop_table"]])
    def test_of_a_grant(self, reviewer, server, kept):
        make.grant(server=server, tools=["query", "export"])
        item = make.campaign(reviewer, kinds=["grant"]).items.get()
        with pytest.raises(Invalid) as refused:
            make.decide(item, "certify_reduced", kept=kept)
        assert list(refused.value.fields) == ["kept"]
        assert not Decision.objects.exists()

    def test_a_real_part_is_kept_in_the_order_of_the_evidence(self, reviewer, server):
        make.grant(server=server, tools=["query", "export"])
        item = make.campaign(reviewer, kinds=["grant"]).items.get()
        assert make.decide(item, "certify_reduced", kept=["query"]).kept == ["query"]

    def test_the_database_refuses_an_empty_part_as_well(self, reviewer, server):
        from django.db import IntegrityError, transaction

        make.grant(server=server, tools=["query", "export"])
        made = make.decide(make.campaign(reviewer, kinds=["grant"]).items.get(), "certify_reduced", kept=["query"])
        with pytest.raises(IntegrityError), transaction.atomic():
            Decision.objects.filter(pk=made.pk).update(kept=[])


class TestEvidenceOpened:
    @pytest.mark.parametrize("value", ["certify", "certify_until"])
    def test_a_critical_thing_is_not_kept_unseen(self, reviewer, value):
        item = item_of(reviewer, tier="critical")
        more = {"until": clock.today() + timedelta(days=5)} if value == "certify_until" else {}
        with pytest.raises(Invalid) as refused:
            save(item, value, **more)
        assert list(refused.value.fields) == ["evidence_hash"]
        # A claim of the client changes nothing: the server never showed it.
        with pytest.raises(Invalid):
            save(item, value, opened=True, **more)
        # Looking at the page is not opening the evidence.
        reviews.note_shown(actor=make.acting(reviewer), work_item=make.work_of(item))
        with pytest.raises(Invalid):
            save(item, value, **more)
        reviews.note_opened(actor=make.acting(reviewer), work_item=make.work_of(item))
        assert save(item, value, **more).opened_evidence_at == make.work_of(item).evidence_opened_at is not None

    def test_it_also_wants_a_reason(self, reviewer):
        with pytest.raises(Invalid) as refused:
            make.decide(item_of(reviewer, tier="critical"), "certify", reason=" ")
        assert list(refused.value.fields) == ["reason"]

    @pytest.mark.parametrize(
        ("tier", "value"), [("critical", "revoke"), ("critical", "not_decided"), ("high", "certify")]
    )
    def test_whatever_keeps_nothing_critical_may_be_said_unseen(self, reviewer, tier, value):
        made = save(item_of(reviewer, tier=tier), value)
        assert made.opened_evidence_at is None

    def test_only_its_reviewer_opens_it_and_only_once(self, reviewer):
        held = make.work_of(item_of(reviewer))
        other = make.acting(make.person("administrator"))
        with CaptureQueriesContext(connection) as asked:
            reviews.note_shown(actor=other, work_item=held)
        assert len(asked) == 0
        reviews.note_shown(actor=make.acting(reviewer), work_item=held)
        first, version = WorkItem.objects.values_list("first_shown_at", "version").get()
        assert version == held.version, "a look is no edit"
        with CaptureQueriesContext(connection) as asked:
            reviews.note_shown(actor=make.acting(reviewer), work_item=held)
        assert len(asked) == 0
        stale = make.work_of(Item.objects.get())
        stale.first_shown_at = None
        reviews.note_shown(actor=make.acting(reviewer), work_item=stale)
        assert WorkItem.objects.get().first_shown_at == first == stale.first_shown_at

    def test_a_token_that_may_only_read_reads_and_opens_nothing(self, reviewer, api):
        item = item_of(reviewer)
        assert api(reviewer, "reviews:read").get(f"/api/v1/items/{item.pk}").status_code == 200
        assert WorkItem.objects.get().first_shown_at is None

    def test_only_its_reviewer_opens_the_evidence_and_the_first_time_counts(self, reviewer):
        item = item_of(reviewer)
        reviews.note_opened(actor=make.acting(make.person("administrator")), work_item=make.work_of(item))
        assert WorkItem.objects.get().evidence_opened_at is None
        reviews.note_opened(actor=make.acting(reviewer), work_item=make.work_of(item))
        first = WorkItem.objects.get()
        assert first.evidence_opened_at == first.first_shown_at is not None
        reviews.note_opened(actor=make.acting(reviewer), work_item=make.work_of(item))
        assert WorkItem.objects.get().evidence_opened_at == first.evidence_opened_at

    def test_evidence_that_changed_is_to_be_opened_again(self, reviewer):
        item = item_of(reviewer, tier="critical")
        reviews.note_opened(actor=make.acting(reviewer), work_item=make.work_of(item))
        tools = [{"name": "purge", "confirmed_class": "destructive"}]
        catalog.set_tools(actor=make.acting(item.server.owner), server=item.server, tools=tools)
        held = make.work_of(Item.objects.get())
        now = evidence_of(held.item.server).evidence_hash
        reviews.confirm_facts(actor=make.acting(reviewer), work_item=held, evidence_hash=now)
        with pytest.raises(Invalid) as refused:
            save(Item.objects.get(), evidence_hash=now)
        assert list(refused.value.fields) == ["evidence_hash"]
        reviews.note_opened(actor=make.acting(reviewer), work_item=make.work_of(Item.objects.get()))
        assert save(Item.objects.get(), evidence_hash=now).opened_evidence_at is not None

    def test_over_rest_it_is_said_explicitly(self, reviewer, api):
        item = item_of(reviewer, tier="critical")
        client = api(reviewer)
        seen = client.get(f"/api/v1/items/{item.pk}")
        sent = {"item": str(item.pk), "value": "certify", "reason": "Fine.", "evidence_hash": item.evidence_hash}

        def answer(**more):
            return client.post("/api/v1/decisions", {**sent, **more}, headers={"If-Match": seen["ETag"]})

        refused = answer()
        assert refused.status_code == 422
        assert "evidence_hash" in str(refused.json())
        made = answer(opened=True)
        assert made.status_code == 200
        assert made.json()["opened_evidence_at"]


class TestTimeTaken:
    def held(self, reviewer: User, seconds_ago: float | None) -> WorkItem:
        shown = clock.now() - timedelta(seconds=seconds_ago) if seconds_ago is not None else None
        return WorkItem(reviewer=reviewer, first_shown_at=shown)

    @pytest.mark.parametrize(
        ("shown_ago", "claimed", "taken"),
        [
            (60, 0, 60_000),  # nothing claimed: measured here
            (60, 20_000, 20_000),  # less than what passed: it was not all for this item
            (60, 300_000, 60_000),  # more than what passed: cut
            (60, 120, 60_000),  # nobody reads in 120 ms: no measure at all
            (0.2, 40_000, 200),
            (None, 40_000, 0),  # never shown, nothing before: nothing is known
        ],
    )
    def test_people_cannot_fake_slowness(self, reviewer, shown_ago, claimed, taken):
        held = self.held(reviewer, shown_ago)
        assert time_taken(held, claimed, clock.now()) == pytest.approx(taken, abs=80)

    def test_a_tab_opened_long_ago_counts_from_the_last_answer(self, reviewer, server):
        make.grant(server=server)
        items = list(make.campaign(reviewer).items.order_by("pk"))
        start = clock.now() - timedelta(hours=1)
        for item in items:
            with clock.at(start):
                reviews.note_shown(actor=make.acting(reviewer), work_item=make.work_of(item))
        with clock.at(start + timedelta(minutes=50)):
            first = save(items[0], decided_ms=3_000_000)
        with clock.at(start + timedelta(minutes=50, seconds=1)):
            second = save(items[1], decided_ms=3_000_000)
        assert (first.decided_ms, second.decided_ms) == (3_000_000, 1000)

    def test_without_being_shown_the_last_answer_still_counts(self, reviewer, server):
        make.grant(server=server)
        items = list(make.campaign(reviewer).items.order_by("pk"))
        now = clock.now()
        with clock.at(now - timedelta(seconds=2)):
            save(items[0])
        with clock.at(now):
            assert save(items[1], decided_ms=60_000).decided_ms == 2000

    def test_looking_again_adds_to_it(self, reviewer):
        item = item_of(reviewer)
        now = clock.now()
        with clock.at(now - timedelta(seconds=30)):
            reviews.note_shown(actor=make.acting(reviewer), work_item=make.work_of(item))
        with clock.at(now - timedelta(seconds=20)):
            assert save(item).decided_ms == 10_000
        with clock.at(now):
            assert save(item, "revoke").decided_ms == 30_000

    def test_all_times_together_are_no_more_than_what_passed(self, reviewer, server):
        make.many_grants(server, 6)
        campaign = make.campaign(reviewer, kinds=["grant"])
        made = make.decide_all(campaign, reviewer, seconds=4, decided_ms=86_000_000)
        assert sum(each.decided_ms for each in made) <= 6 * 4000


class TestNotSure:
    def test_it_says_who_would_know(self, reviewer):
        item = item_of(reviewer)
        with pytest.raises(Invalid) as refused:
            make.decide(item, "not_decided", reason="")
        assert "who would know" in refused.value.fields["reason"][0]
        assert make.decide(item, "not_decided", reason="Ask Ines Moreau, who runs it.").value == "not_decided"


class TestTwoTabs:
    def test_the_second_is_refused_whatever_it_says(self, reviewer):
        item = item_of(reviewer)
        seen = review_version(make.work_of(item))
        make.decide(item, "certify", expected_version=seen)
        for value in ("certify", "revoke"):
            with pytest.raises(Changed):
                make.decide(item, value, expected_version=seen)
        with pytest.raises(Changed):
            reviews.undo_decision(actor=make.acting(reviewer), work_item=make.work_of(item), expected_version=seen)
        assert Decision.objects.get().value == "certify"

    def test_over_rest(self, api, reviewer):
        item = item_of(reviewer)
        client = api(reviewer)
        tag = client.get(f"/api/v1/items/{item.pk}")["ETag"]
        body = {"item": str(item.pk), "value": "certify", "evidence_hash": item.evidence_hash, "reason": "Fine."}
        assert client.post("/api/v1/decisions", body).status_code == 428
        saved = client.post("/api/v1/decisions", body, headers={"If-Match": tag})
        assert saved.status_code == 200
        assert client.post("/api/v1/decisions", body, headers={"If-Match": tag}).status_code == 412
        assert client.post("/api/v1/decisions", body, headers={"If-Match": saved["ETag"]}).status_code == 200

    def test_reading_the_item_over_rest_shows_it_and_the_answer_says_whether_it_was_opened(self, api, reviewer):
        item = item_of(reviewer, tier="critical")
        client = api(reviewer)
        body = {"item": str(item.pk), "value": "certify", "evidence_hash": item.evidence_hash, "reason": "Fine."}
        opened = {**body, "opened": True}
        unseen = client.post("/api/v1/decisions", opened, headers={"If-Match": review_version(make.work_of(item))})
        assert (unseen.status_code, unseen.json()["errors"][0]["pointer"]) == (422, "/evidence_hash")
        tag = client.get(f"/api/v1/items/{item.pk}")["ETag"]
        assert client.post("/api/v1/decisions", body, headers={"If-Match": tag}).status_code == 422
        assert client.post("/api/v1/decisions", opened, headers={"If-Match": tag}).status_code == 200


class TestCost:
    def test_the_number_of_queries_does_not_grow_with_the_campaign(self, reviewer):
        def cost(number: int) -> int:
            server = make.active_server()
            make.many_grants(server, number)
            campaign = make.campaign(reviewer, kinds=["grant"], name=f"With {number}", scope={"q": server.name})
            item = campaign.items.order_by("pk").first()
            held = make.work_of(item)
            reviews.note_shown(actor=make.acting(reviewer), work_item=held)
            with CaptureQueriesContext(connection) as asked:
                save(item)
            return len(asked)

        few, many = cost(2), cost(12)
        assert few == many
        assert many <= 40
