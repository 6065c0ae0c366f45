"""Several equal items answered at once: each with a decision of its own (invariant 13), and only where that is safe."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from registry.accounts.models import User
from registry.catalog.models import Agent
from registry.core import clock
from registry.core.errors import Invalid, NotAllowed, NotFound, SecretRefused
from registry.reviews import services as reviews
from registry.reviews.models import Campaign, Decision, WorkItem
from registry.reviews.services import bulk
from registry.reviews.services.items import review_version
from registry.trust.models import Grant
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer() -> User:
    return make.person("reviewer", name="Rita Reviewer")


def twice(reviewer: User, number: int = 5, *, tier: str = "", between: Any = None, **facts: Any) -> Campaign:
    """A campaign about equal grants that were all certified in an earlier one."""
    server = make.active_server()
    if tier:
        make.override_tier(server, tier)
    grants = make.many_grants(server, number, **facts)
    first = make.campaign(reviewer, kinds=["grant"])
    make.decide_all(first, reviewer)
    make.sign(first, reviewer)
    if between is not None:
        between(server, grants)
    made = make.campaign(reviewer, kinds=["grant"])
    assert made.state == "active", made.state_reason
    return made


def own(campaign: Campaign) -> list[WorkItem]:
    return list(
        WorkItem.objects.filter(item__campaign=campaign, state="open").select_related("item", "reviewer").order_by("pk")
    )


def opened(campaign: Campaign, number: int = 1, ago: float = 120) -> list[WorkItem]:
    """Its work items, of which so many were opened a while ago."""
    found = own(campaign)
    for held in found[:number]:
        with clock.at(clock.now() - timedelta(seconds=ago)):
            reviews.note_shown(actor=make.acting(held.reviewer), work_item=held)
    return found


def decide(campaign: Campaign, work_items: list[WorkItem], value: str = "certify", **facts: Any) -> list[Decision]:
    values: dict[str, Any] = {
        "evidence": {w.item_id: w.item.evidence_hash for w in work_items},
        "versions": {w.item_id: review_version(w) for w in work_items},
        "actor": make.acting(work_items[0].reviewer),
        "campaign": campaign,
        "work_items": work_items,
    }
    return reviews.decide_bulk(value=value, **(values | facts))


def candidates(work_item: WorkItem, **facts: Any) -> bulk.Candidates:
    return bulk.bulk_candidates(actor=make.acting(work_item.reviewer), work_item=work_item, **facts)


def different_tools(server, grants):
    Grant.objects.filter(pk=grants[0].pk).update(tools=["query"])


def different_end(server, grants):
    Grant.objects.filter(pk=grants[0].pk).update(valid_until=clock.now() + timedelta(days=40))


def different_owner(server, grants):
    Agent.objects.filter(pk=grants[0].agent_id).update(owner=make.person())


def different_lifetime(server, grants):
    Grant.objects.filter(pk=grants[0].pk).update(max_token_lifetime_seconds=60)


class TestInvariant13:
    """Bulk = N decision rows, each with its own evidence hash, one bulk id."""

    def test_one_row_for_each_on_its_own_evidence(self, reviewer):
        campaign = twice(reviewer)
        held = opened(campaign)
        made = decide(campaign, held)
        rows = list(Decision.objects.filter(signed_at=None).select_related("work_item__item"))
        assert len(made) == len(rows) == 5
        assert {row.work_item_id for row in rows} == {w.pk for w in held}
        assert len({row.bulk_id for row in rows}) == 1 and rows[0].bulk_id is not None
        assert all(row.evidence_hash == row.work_item.item.evidence_hash for row in rows)
        assert len({row.evidence_hash for row in rows}) == 5, "every item has evidence of its own"
        assert {row.work_item.item.state for row in rows} == {"decided"}

    def test_evidence_of_another_item_is_refused(self, reviewer):
        campaign = twice(reviewer)
        held = opened(campaign)
        swapped = {held[0].item_id: held[1].item.evidence_hash, held[1].item_id: held[0].item.evidence_hash}
        evidence = {w.item_id: w.item.evidence_hash for w in held} | swapped
        with pytest.raises(Invalid) as refused:
            decide(campaign, held, evidence=evidence)
        assert set(refused.value.fields) == {f"items.{held[0].item_id}", f"items.{held[1].item_id}"}
        assert not Decision.objects.filter(signed_at=None).exists(), "all or none"

    def test_each_row_says_whether_its_own_evidence_was_opened(self, reviewer):
        campaign = twice(reviewer)
        held = opened(campaign, 2)
        reviews.note_opened(actor=make.acting(reviewer), work_item=held[0])
        decide(campaign, held)
        read = Decision.objects.filter(signed_at=None, opened_evidence_at__isnull=False)
        assert [made.work_item for made in read] == [held[0]], "looking at the page is not opening its evidence"

    def test_the_time_it_took_is_divided_among_them(self, reviewer):
        campaign = twice(reviewer)
        start = clock.now()
        with clock.at(start):
            held = opened(campaign, 2, ago=0)
        with clock.at(start + timedelta(seconds=100)):
            made = decide(campaign, held)
        assert {row.decided_ms for row in made} == {20_000}

    def test_a_change_of_one_takes_it_out_of_the_bulk(self, reviewer):
        campaign = twice(reviewer)
        made = decide(campaign, opened(campaign))
        make.decide(made[0].work_item.item, "revoke", reason="Not this one.")
        assert Decision.objects.filter(signed_at=None, bulk_id=made[0].bulk_id).count() == 4


class TestEqual:
    def test_the_same_grant_of_many_agents_is_equal(self, reviewer):
        found = candidates(own(twice(reviewer))[0])
        assert (len(found.fit), found.outliers, found.more) == (5, [], 0)

    @pytest.mark.parametrize("differs", [different_tools, different_end, different_owner, different_lifetime])
    def test_what_differs_in_a_fact_is_not(self, reviewer, differs):
        odd: dict[str, Any] = {}

        def between(server, grants):
            differs(server, grants)
            odd["grant"] = grants[0].pk

        campaign = twice(reviewer, between=between)
        work_items = own(campaign)
        alone = next(w for w in work_items if w.item.grant_id == odd["grant"])
        others = [w for w in work_items if w != alone]
        assert {c.item.pk for c in candidates(others[0]).fit} == {w.item_id for w in others}
        assert [c.item.pk for c in candidates(others[0], chosen={w.item_id for w in work_items}).outliers] == [
            alone.item_id
        ]

    def test_the_time_of_day_a_grant_ends_is_no_difference(self, reviewer):
        noon = (clock.now() + timedelta(days=80)).replace(hour=12, minute=0)

        def between(server, grants):
            for place, grant in enumerate(grants):
                Grant.objects.filter(pk=grant.pk).update(valid_until=noon + timedelta(minutes=place))

        campaign = twice(reviewer, 3, between=between)
        held = own(campaign)
        found = candidates(held[0])
        assert len(found.fit) + len(found.outliers) == 3
        assert all("changed since it was certified" in c.because for c in found.outliers)

    @pytest.mark.parametrize(("tier", "fit"), [("critical", 0), ("high", 0), ("medium", 4), ("low", 4)])
    def test_only_up_to_the_medium_tier(self, reviewer, tier, fit):
        campaign = twice(reviewer, 4, tier=tier)
        held = opened(campaign)
        found = candidates(held[0])
        assert len(found.fit) == fit
        if not fit:
            assert "tier" in found.outliers[0].because
            with pytest.raises(Invalid) as refused:
                decide(campaign, held, reason="All the same.")
            assert len(refused.value.fields) == 4

    def test_only_one_reviewer_and_one_campaign(self, reviewer):
        campaign = twice(reviewer)
        held = opened(campaign)
        other = make.person("reviewer")
        with pytest.raises(NotAllowed):
            decide(campaign, held, actor=make.acting(other))
        with pytest.raises(NotAllowed):
            decide(campaign, held, actor=make.acting(campaign.owner))
        elsewhere = twice(reviewer, 2)
        with pytest.raises(NotAllowed):
            decide(campaign, [*held, *own(elsewhere)])
        reviews.reassign_work_item(actor=make.acting(reviewer), work_item=held[4], to=other, note="Knows it.")
        assert len(candidates(held[0]).fit) == 4
        assert not Decision.objects.filter(signed_at=None).exists()


class TestTakenOut:
    def test_what_was_never_certified(self, reviewer):
        make.many_grants(make.active_server(), 3)
        campaign = make.campaign(reviewer, kinds=["grant"])
        held = opened(campaign)
        found = candidates(held[0])
        assert (len(found.fit), len(found.outliers)) == (0, 3)
        with pytest.raises(Invalid) as refused:
            decide(campaign, held)
        assert all("never certified" in messages[0] for messages in refused.value.fields.values())

    def test_what_changed_since(self, reviewer):
        def between(server, grants):
            for grant in grants:
                Grant.objects.filter(pk=grant.pk).update(max_token_lifetime_seconds=60)

        held = own(twice(reviewer, 3, between=between))
        assert {c.because[:10] for c in candidates(held[0]).outliers} == {"It changed"}

    def test_what_changed_during_the_review(self, reviewer):
        campaign = twice(reviewer, 3)
        held = opened(campaign)
        Grant.objects.filter(pk=held[0].item.grant_id).update(max_token_lifetime_seconds=60)
        with pytest.raises(Invalid) as refused:
            decide(campaign, held)
        assert list(refused.value.fields) == [f"items.{held[0].item_id}"]

    def test_what_the_rules_would_answer_otherwise(self, reviewer):
        def between(server, grants):
            # An approval that was withdrawn is no material fact: nothing changed, and yet.
            server.tools.filter(name="export").update(approved_digest="")

        found = candidates(own(twice(reviewer, 3, between=between))[0])
        assert found.fit == []
        assert all("never approved: export" in c.because for c in found.outliers)


class TestLimits:
    def test_at_most_twenty_five(self, reviewer):
        campaign = twice(reviewer, 27)
        held = own(campaign)
        found = candidates(held[0])
        assert (len(found.fit), found.more, len(found.sample)) == (25, 2, 3)
        for candidate in found.sample:
            reviews.note_shown(actor=make.acting(reviewer), work_item=candidate.work_item)
        with pytest.raises(Invalid) as refused:
            decide(campaign, held)
        assert refused.value.fields["items"] == ["At most 25 at once; you chose 27."]
        fit = {c.item.pk for c in found.fit}
        assert len(decide(campaign, [w for w in held if w.item_id in fit])) == 25

    @pytest.mark.parametrize(("number", "needed"), [(1, 1), (10, 1), (11, 2), (25, 3)])
    def test_a_tenth_and_at_least_one_is_the_sample(self, number, needed):
        assert bulk.sample_size(number) == needed

    def test_without_a_sample_opened_nothing_is_decided(self, reviewer):
        campaign = twice(reviewer)
        with pytest.raises(Invalid) as refused:
            decide(campaign, own(campaign))
        assert "Open at least 1" in refused.value.fields["items"][0]

    def test_the_sample_is_drawn_not_chosen(self, reviewer):
        held = own(twice(reviewer, 12))
        first, again = candidates(held[0]), candidates(held[5])
        assert [c.item.pk for c in first.sample] == [c.item.pk for c in again.sample]

    def test_an_empty_set_is_refused(self, reviewer):
        campaign = twice(reviewer, 2)
        with pytest.raises(Invalid):
            reviews.decide_bulk(
                actor=make.acting(reviewer), campaign=campaign, work_items=[], value="certify", evidence={}
            )


class TestAnswer:
    def test_what_one_answer_must_be_each_must_be(self, reviewer):
        campaign = twice(reviewer, 3)
        held = opened(campaign)
        with pytest.raises(Invalid) as refused:
            decide(campaign, held, "revoke", reason="")
        assert all("reason" in messages[0].lower() for messages in refused.value.fields.values())
        with pytest.raises(SecretRefused):
            decide(campaign, held, "revoke", reason="password=hunter2hunter2")
        assert len(decide(campaign, held, "certify_reduced", kept=["query"], reason="Nobody exports.")) == 3
        assert {tuple(d.kept) for d in Decision.objects.filter(signed_at=None)} == {("query",)}

    def test_somebody_elses_tab_stops_all_of_it(self, reviewer):
        campaign = twice(reviewer, 3)
        held = opened(campaign)
        versions = {w.item_id: review_version(w) for w in held}
        make.decide(held[0].item, "revoke", reason="Odd.")
        with pytest.raises(Invalid) as refused:
            decide(campaign, held, versions=versions)
        assert list(refused.value.fields) == [f"items.{held[0].item_id}"]
        assert Decision.objects.filter(signed_at=None).count() == 1

    def test_all_of_it_is_taken_back(self, reviewer):
        campaign = twice(reviewer, 3)
        bulk_id = decide(campaign, opened(campaign))[0].bulk_id
        by = make.acting(reviewer)
        with pytest.raises(NotFound):
            reviews.undo_bulk(actor=make.acting(make.person("reviewer")), campaign=campaign, bulk_id=bulk_id)
        assert reviews.undo_bulk(actor=by, campaign=campaign, bulk_id=bulk_id) == 3
        assert not Decision.objects.filter(signed_at=None).exists()
        assert {w.state for w in WorkItem.objects.filter(item__campaign=campaign)} == {"open"}
        with pytest.raises(NotFound):
            reviews.undo_bulk(actor=by, campaign=campaign, bulk_id=bulk_id)

    def test_what_is_signed_stays(self, reviewer):
        campaign = twice(reviewer, 3)
        bulk_id = decide(campaign, opened(campaign))[0].bulk_id
        make.sign(campaign, reviewer)
        with pytest.raises(NotFound):
            reviews.undo_bulk(actor=make.acting(reviewer), campaign=campaign, bulk_id=bulk_id)

    def test_looking_costs_the_same_for_few_and_many(self, reviewer):
        def cost(number: int) -> int:
            held = own(twice(reviewer, number))[0]
            with CaptureQueriesContext(connection) as asked:
                assert len(candidates(held).fit) == number
            return len(asked)

        assert cost(3) == cost(15) <= 8


class TestPage:
    def url(self, campaign: Campaign, *items: UUID) -> str:
        query = "&".join(f"item={item}" for item in items)
        return f"{reverse('reviews:bulk', args=[campaign.pk])}?{query}"

    def post(self, client: Any, url: str, work_items: list[WorkItem], **facts: Any) -> Any:
        data = {f"evidence-{w.item_id}": w.item.evidence_hash for w in work_items}
        data |= {f"version-{w.item_id}": review_version(w) for w in work_items}
        return client.post(url, {"item": [str(w.item_id) for w in work_items], **data, "value": "certify", **facts})

    def test_from_the_queue_to_the_drafts_and_back(self, web, reviewer):
        campaign = twice(reviewer, 4)
        held = own(campaign)
        client, url = web(reviewer), self.url(campaign, held[0].item_id)
        page = client.get(url).text
        assert "0 of 1 opened" in page
        assert all(w.item.label in page for w in held)
        assert "checked" not in page.split('<fieldset class="opts">')[1].split("</fieldset>")[0], (
            "nothing is preselected"
        )
        early = self.post(client, url, held)
        assert (early.status_code, "Open at least 1" in early.text) == (422, True)
        client.get(reverse("reviews:item", args=[campaign.pk, held[1].item_id]))
        held = own(campaign)
        done = self.post(client, url, held, reason="The same nightly jobs as last quarter.")
        assert done.status_code == 302
        assert "4 decisions saved" in client.get(done.url).text
        assert client.post(done.url).status_code == 302
        assert not Decision.objects.filter(signed_at=None).exists()
        assert client.get(done.url).status_code == 404

    def test_outliers_stand_first_and_name_why(self, web, reviewer):
        def between(server, grants):
            Grant.objects.filter(pk=grants[0].pk).update(max_token_lifetime_seconds=60)

        campaign = twice(reviewer, 4, between=between)
        held = own(campaign)
        page = web(reviewer).get(self.url(campaign, *(w.item_id for w in reversed(held)))).text
        assert page.index("Taken out") < page.index("Open a sample first") < page.index("Equal in every material fact")
        assert "facts differ" in page or "changed since" in page

    def test_a_refusal_stands_beside_its_item(self, web, reviewer):
        campaign = twice(reviewer, 3)
        held = opened(campaign)
        client, url = web(reviewer), self.url(campaign, *(w.item_id for w in held))
        refused = self.post(client, url, held, value="revoke", reason="")
        assert refused.status_code == 422
        assert refused.text.count("Give a reason: you take something away.") == 3

    def test_others_find_nothing_here(self, web, reviewer):
        campaign = twice(reviewer, 3)
        held = own(campaign)
        url = self.url(campaign, held[0].item_id)
        assert "Choose items in the queue" in web(make.person("reviewer")).get(url).text
        assert web(make.outsider()).get(url).status_code == 403
        assert self.post(web(make.person("reviewer")), url, held).status_code == 422
        assert not Decision.objects.filter(signed_at=None).exists()
        assert "Choose items in the queue" in web(reviewer).get(f"{self.url(campaign)}item=nonsense").text


class TestRest:
    def test_candidates_bulk_and_undo(self, api, reviewer):
        campaign = twice(reviewer, 3)
        held = own(campaign)
        client = api(reviewer)
        found = client.get(f"/api/v1/decisions/bulk-candidates?item={held[0].item_id}").json()
        assert (len(found["fit"]), found["outliers"], found["more"]) == (3, [], 0)
        items = [
            {"item": c["item"], "evidence_hash": c["evidence_hash"], "version": c["version"]} for c in found["fit"]
        ]
        body = {"items": items, "value": "certify", "reason": "As before."}
        early = client.post("/api/v1/decisions/bulk", body)
        assert (early.status_code, early.json()["errors"][0]["pointer"]) == (422, "/items")
        client.get(f"/api/v1/items/{held[0].item_id}")
        stale = [{**items[0], "version": '"x.1.1"'}, *items[1:]]
        refused = client.post("/api/v1/decisions/bulk", {**body, "items": stale})
        assert [e["pointer"] for e in refused.json()["errors"]] == [f"/items/{items[0]['item']}"]
        done = client.post("/api/v1/decisions/bulk", body)
        assert done.status_code == 200
        rows = done.json()
        assert len({row["bulk_id"] for row in rows}) == 1 and len({row["evidence_hash"] for row in rows}) == 3
        url = f"/api/v1/decisions/bulk/{rows[0]['bulk_id']}"
        assert api(make.person("reviewer")).delete(url).status_code == 404
        assert client.delete(url).status_code == 204
        assert client.delete(url).status_code == 404
        assert client.delete("/api/v1/decisions/bulk/nonsense").status_code == 404

    def test_somebody_elses_item_is_not_decided(self, api, reviewer):
        campaign = twice(reviewer, 2)
        items = [{"item": str(w.item_id), "evidence_hash": w.item.evidence_hash, "version": "*"} for w in own(campaign)]
        body = {"items": items, "value": "certify"}
        assert api(make.person("reviewer")).post("/api/v1/decisions/bulk", body).status_code == 403
        assert api(reviewer, "reviews:read").post("/api/v1/decisions/bulk", body).status_code == 403
        assert api().post("/api/v1/decisions/bulk", body).status_code == 401
        unknown = {"items": [{**items[0], "item": str(uuid4())}], "value": "certify"}
        assert api(reviewer).post("/api/v1/decisions/bulk", unknown).status_code == 404
