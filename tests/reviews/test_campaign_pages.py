"""The list of campaigns, the page of one, absences: what those who run reviews see and do."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from registry.core import clock
from registry.reviews import queries
from registry.reviews import services as reviews
from registry.reviews.models import AutomaticAction, Campaign, Delegation, Item, Remediation, WorkItem
from registry.reviews.views.campaigns import steps_of
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer():
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def running(reviewer):
    """Two servers, a grant and a connection under review."""
    server = make.active_server(title="Warehouse SQL")
    make.active_server(title="Ticket desk")
    make.grant(server=server, agent=make.agent(name="Forecast agent"))
    make.connection(server=server, system=make.system(name="Ledger replica"))
    return make.campaign(reviewer)


def page_of(web, person, campaign: Campaign, **query: str) -> str:
    return web(person).get(reverse("reviews:campaign", args=[campaign.pk]), query).text


class TestList:
    def test_campaigns_micro_certifications_and_intakes_are_told_apart(self, web, running):
        item = make.intake(make.submitted_server(title="Newcomer"))
        micro = Campaign.objects.create(
            kind="micro", name="Changed facts", period="now", scope_hash="x", state="active", due_at=clock.now()
        )
        url, client = reverse("reviews:campaigns"), web(make.person("security"))
        shown = {kind: client.get(url, {"kind": kind}).text for kind in ("periodic", "micro", "intake")}
        names = {"periodic": running.name, "micro": micro.name, "intake": item.campaign.name}
        for kind, page in shown.items():
            assert {other for other, name in names.items() if f">{name}</a>" in page} == {kind}
            assert f'href="?kind={kind}" aria-current="page"' in page
        assert f">{running.name}</a>" in client.get(url).text, "campaigns first"

    def test_filters_stay_in_the_address(self, web, running):
        client = web(make.person())
        page = client.get(reverse("reviews:campaigns"), {"kind": "periodic", "state": "completed"}).text
        assert "Nothing matches" in page
        assert running.name not in page
        assert 'name="kind" value="periodic"' in page

    def test_a_missed_run_is_said_to_those_who_can_do_something(self, web, reviewer):
        template = make.template(reviewer, name="Quarterly")
        type(template).objects.filter(pk=template.pk).update(next_run_on=clock.today() - timedelta(days=5))
        assert "Quarterly was not launched" in web(template.owner).get(reverse("reviews:campaigns")).text
        assert "was not launched" not in web(make.person()).get(reverse("reviews:campaigns")).text

    def test_costs_the_same_for_any_length(self, web, reviewer, running):
        client, url = web(running.owner), reverse("reviews:campaigns")

        def measured() -> int:
            with CaptureQueriesContext(connection) as captured:
                assert client.get(url).status_code == 200
            return len(captured)

        measured()
        few = measured()
        for _ in range(4):
            make.active_server()
            make.campaign(reviewer, owner=running.owner, kinds=["server"])
        assert measured() == few


class TestWhereItIs:
    @pytest.mark.parametrize(
        ("state", "looks"),
        [
            ("generating", "now todo todo todo todo todo todo"),
            ("generation_failed", "failed todo todo todo todo todo todo"),
            ("active", "done done now todo todo todo todo"),
            ("completed_with_exceptions", "done done done done done done todo"),
            ("accepted", "done done done done done done done"),
        ],
    )
    def test_the_steps_follow_the_state(self, state, looks):
        steps = steps_of(Campaign(state=state, stages=[{}]))
        assert " ".join(step.look for step in steps) == looks

    def test_every_state_has_a_place(self):
        for state in Campaign._meta.get_field("state").choices:
            assert len(steps_of(Campaign(state=state[0], stages=[]))) == 7

    def test_a_campaign_of_several_stages_says_which(self):
        assert steps_of(Campaign(state="active", stage=2, stages=[{}, {}, {}]))[2].detail == "stage 2 of 3"

    def test_the_funnel_adds_up(self):
        rows = [
            (1, "revoked", "low", 2),
            (1, "in_review", "low", 1),
            (2, "decided", "high", 3),
            (2, "obsolete", "low", 9),
        ]
        standing = queries.Standing(rows, [{"name": "Team"}, {}])
        first, second = standing.funnel
        assert (first.reached, first.left, first.ended, first.passed, first.name) == (6, 1, 2, 3, "Team")
        assert (second.reached, second.drafted, second.passed) == (3, 3, 0)
        assert (standing.progress.total, standing.progress.left, standing.all_items) == (6, 1, 15)
        assert [(tier, each.total) for tier, each in standing.tiers] == [("high", 3), ("low", 3)]


class TestPage:
    def test_shows_who_has_not_answered_and_reminds(self, web, running, reviewer):
        page = page_of(web, running.owner, running)
        assert "1 has not answered" in page
        assert "no answer yet" in page
        remind = reverse("reviews:campaign_remind", args=[running.pk, reviewer.pk])
        assert remind in page
        make.decide(running.items.first())
        page = page_of(web, running.owner, running)
        assert "no answer yet" not in page
        assert remind in page, "three are still open"
        assert remind not in page_of(web, make.person(), running)

    def test_what_lies_still_is_found_and_what_moves_is_not(self, running):
        assert not queries.lying_still(running.items.all()).exists()
        with clock.at(clock.now() + timedelta(days=queries.STILL_AFTER_DAYS + 1)):
            assert queries.lying_still(running.items.all()).count() == 4
            opened = WorkItem.objects.filter(item__campaign=running).first()
            reviews.note_shown(actor=make.acting(opened.reviewer), work_item=opened)
            assert queries.lying_still(running.items.all()).count() == 3

    def test_needs_somebody(self, web, running):
        item = running.items.get(server__title="Ticket desk")
        WorkItem.objects.filter(item=item).update(state="closed")
        Item.objects.filter(pk=item.pk).update(state="escalated")
        other = running.items.exclude(pk=item.pk).first()
        AutomaticAction.objects.create(item=other, kind="suspend", state="held", due_at=clock.now())
        page = page_of(web, running.owner, running)
        assert "1 item is in nobody's hands".replace("'", "&#x27;") in page or "1 item is in nobody's hands" in page
        assert reverse("reviews:hand_over", args=[running.pk, item.pk]) in page
        assert "1 automatic action waits for a second person" in page
        assert item.label in page_of(web, running.owner, running, attention="nobody")
        assert "Needs somebody" in page

    def test_names_of_confidential_things_reach_only_their_people(self, web, reviewer):
        server = make.active_server(title="Payroll", confidential=True)
        campaign = make.campaign(reviewer, kinds=["server"])
        item = campaign.items.get()
        WorkItem.objects.filter(item=item).update(state="closed")
        Item.objects.filter(pk=item.pk).update(state="escalated")
        page = page_of(web, make.person(), campaign)
        assert server.name not in page
        assert "nobody" in page, "that there is one is no secret"
        assert server.name in page_of(web, campaign.owner, campaign)

    def test_quality_is_for_those_who_answer_for_it(self, web, running):
        make.decide(running.items.first())
        assert "How carefully" in page_of(web, running.owner, running)
        assert "How carefully" in page_of(web, make.person("auditor"), running)
        assert "How carefully" not in page_of(web, make.person(), running)

    def test_filters_of_items(self, web, running, reviewer):
        other = make.person("reviewer")
        assert "Warehouse SQL" in page_of(web, running.owner, running, reviewer=str(reviewer.pk))
        assert "No item fits these filters" in page_of(web, running.owner, running, tier="critical")
        Item.objects.filter(campaign=running).update(due_at=clock.now() - timedelta(days=1))
        assert "Forecast agent" in page_of(web, running.owner, running, attention="overdue", kind="grant")
        assert other.name not in page_of(web, running.owner, running)

    def test_costs_the_same_for_any_size(self, web, reviewer, running):
        client = web(running.owner)

        def measured(campaign: Campaign) -> int:
            with CaptureQueriesContext(connection) as captured:
                assert client.get(reverse("reviews:campaign", args=[campaign.pk])).status_code == 200
            return len(captured)

        make.decide(running.items.first())
        measured(running)
        few = measured(running)
        reviews.cancel_campaign(actor=make.acting(running.owner), campaign=running, reason="Again, larger")
        for _ in range(6):
            make.grant()
        pool = [make.person("reviewer") for _ in range(3)]
        larger = make.campaign(reviewer, *pool, owner=running.owner)
        for item in larger.items.all()[:6]:
            make.decide(item)
        assert larger.items.count() > 12
        assert measured(larger) == few

    def test_filtering_in_place_counts_only_what_is_listed(self, web, running):
        client, url = web(running.owner), reverse("reviews:campaign", args=[running.pk])
        whole = client.get(url, {"kind": "connection"})
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(url, {"kind": "connection"}, headers={"HX-Request": "true", "HX-Target": "results"})
        assert len(captured) < 15
        for named in ('id="results"', 'id="view-actions"', "Ledger replica", "items.csv?kind=connection"):
            assert named in answer.text
            assert named in whole.text
        assert "Forecast agent" not in answer.text
        assert "Population" not in answer.text
        for each in (answer, whole):
            assert "HX-Request" in each["Vary"], "or going back would show a fragment"

    def test_what_was_taken_away_leads_to_its_remediation(self, web, running, reviewer):
        for item in running.items.all():
            make.decide(item, "revoke" if item.kind == "grant" else "certify")
        make.sign(running, reviewer)
        remediation = Remediation.objects.get()
        assert f'href="{reverse("reviews:remediation", args=[remediation.pk])}"' in page_of(web, running.owner, running)


class TestAcceptance:
    @pytest.fixture
    def completed(self, running, reviewer):
        for item in running.items.all():
            make.decide(item)
        make.sign(running, reviewer)
        running.refresh_from_db()
        reviews.close_campaign(
            actor=make.acting(running.owner), campaign=running, statement="Complete.", auth_method="password"
        )
        running.refresh_from_db()
        assert running.state == "completed"
        return running

    def test_an_auditor_signs_with_their_password(self, web, completed):
        auditor = make.person("auditor")
        client, url = web(auditor), reverse("reviews:campaign_accept", args=[completed.pk])
        assert url in page_of(web, auditor, completed)
        assert client.post(url, {"statement": "I rely on it.", "password": "wrong"}).status_code == 422
        assert client.post(url, {"statement": "I rely on it.", "password": make.PASSWORD}).status_code == 302
        completed.refresh_from_db()
        assert completed.state == "accepted"
        assert completed.sign_offs.get(kind="auditor").reviewer == auditor
        assert "accepted as auditor" in page_of(web, make.person(), completed)

    def test_nobody_else_and_not_before_it_is_completed(self, web, completed, reviewer):
        url = reverse("reviews:campaign_accept", args=[completed.pk])
        for person in (completed.owner, reviewer, make.person("administrator"), make.person()):
            assert web(person).get(url).status_code == 403
            sent = {"statement": "Mine.", "password": make.PASSWORD}
            assert web(person).post(url, sent).status_code == 403
        make.active_server()
        running = make.campaign(reviewer, kinds=["server"])
        told = web(make.person("auditor")).get(reverse("reviews:campaign_accept", args=[running.pk])).text
        assert "Only a completed campaign can be accepted" in told
        assert 'name="password"' not in told


class TestGate:
    def test_a_missing_owner_is_named_and_waived_with_a_reason(self, web, reviewer):
        server = make.active_server(title="Orphan")
        template = make.template(reviewer, kinds=["server"])
        launched = reviews.launch_campaign(actor=make.acting(template.owner), template=template)
        server.owner.is_active = False
        server.owner.save()
        reviews.generate_items(campaign_id=launched.pk)
        launched.refresh_from_db()
        assert launched.state == "staged"
        page = page_of(web, launched.owner, launched)
        waive = reverse("reviews:campaign_waive", args=[launched.pk, "missing_owner"])
        assert "Nobody active owns these" in page
        assert waive in page
        client = web(launched.owner)
        assert client.post(waive, {"reason": " "}).status_code == 422
        assert web(reviewer).post(waive, {"reason": "x"}).status_code == 403
        client.post(waive, {"reason": "The team is being dissolved; security takes over next week."})
        launched.refresh_from_db()
        assert launched.state == "active"
        assert launched.gap_waivers.get().waived_by == launched.owner


class TestAbsences:
    def sent(self, delegate, **changes):
        today = clock.today()
        return {"starts_on": today, "ends_on": today + timedelta(days=7), "delegate": delegate.pk, "note": ""} | changes

    def test_i_am_away_and_somebody_stands_in(self, web, running, reviewer):
        other = make.person("reviewer", name="Sam Standin")
        client, url = web(reviewer), reverse("reviews:delegations")
        assert client.post(url, self.sent(other)).status_code == 302
        page = client.get(url).text
        assert "You are away, Sam Standin stands in" in page
        assert "You stand in for Rita Reviewer" in web(other).get(url).text
        assert "Nobody is away" in web(make.person("reviewer")).get(url).text
        made = Delegation.objects.get()
        end = reverse("reviews:delegation_end", args=[made.pk])
        assert end in page
        assert web(make.person()).post(end).status_code == 404
        assert web(other).post(end).status_code == 403, "who stands in does not call it off"
        client.post(end, {"version": made.etag})
        made.refresh_from_db()
        assert made.ended_at is not None
        assert WorkItem.objects.filter(item__campaign=running, reviewer=other, state="open").count() == 4

    def test_errors_stand_at_their_fields(self, web, reviewer):
        url = reverse("reviews:delegations")
        answer = web(reviewer).post(url, self.sent(reviewer))
        assert answer.status_code == 422
        assert "Choose somebody else" in answer.text
        before = self.sent(make.person("reviewer"), ends_on=clock.today() - timedelta(days=1))
        assert "ends before it starts" in web(reviewer).post(url, before).text

    def test_only_administrators_say_so_for_others(self, web, reviewer):
        other, url = make.person("reviewer"), reverse("reviews:delegations")
        member = make.person("reviewer")
        assert 'name="delegator"' not in web(member).get(url).text
        web(member).post(url, self.sent(other, delegator=reviewer.pk))
        assert not Delegation.objects.filter(delegator=reviewer).exists()
        Delegation.objects.filter(delegator=member).update(ended_at=clock.now())
        assert web(make.person("administrator")).post(url, self.sent(other, delegator=reviewer.pk)).status_code == 302
        assert Delegation.objects.get(ended_at=None).delegator == reviewer

    def test_over_rest(self, api, reviewer):
        other, root = make.person("reviewer"), "/api/v1/delegations"
        day = clock.today()
        facts = {"delegate": str(other.pk), "starts_on": str(day), "ends_on": str(day + timedelta(days=3))}
        made = api(reviewer).post(root, facts)
        assert (made.status_code, made.json()["delegator"]) == (201, str(reviewer.pk))
        assert api(other).get(root, {"on": str(day)}).json()["results"][0]["id"] == made.json()["id"]
        assert api(make.person()).get(root).json()["results"] == []
        told = api(make.person("reviewer")).post(root, {**facts, "delegator": str(reviewer.pk)})
        assert told.status_code == 403
        end = f"{root}/{made.json()['id']}/end"
        assert api(reviewer).post(end, headers={"If-Match": '"x.1"'}).status_code == 412
        assert api(reviewer).post(end, headers={"If-Match": made["ETag"]}).json()["ended_at"]


class TestRest:
    root = "/api/v1/campaigns"

    def test_waive_recheck_accept_are_the_same_acts(self, api, running, reviewer):
        url = f"{self.root}/{running.pk}"
        owner = api(running.owner)
        assert owner.post(f"{url}/recheck").status_code == 409
        told = owner.post(f"{url}/waive", {"gap": "missing_owner", "reason": "x"})
        assert told.status_code == 409
        assert api(reviewer).post(f"{url}/waive", {"gap": "missing_owner", "reason": "x"}).status_code == 403
        assert api(running.owner).post(f"{url}/accept", {"statement": "x"}).status_code == 403
        assert api(make.person("auditor")).post(f"{url}/accept", {"statement": "x"}).status_code == 409

    def test_an_item_says_why_its_reviewer_and_why_not_me(self, api, running, reviewer):
        item = running.items.get(server__title="Ticket desk")
        owner = item.server.owner
        seen = api(owner).get(f"/api/v1/items/{item.pk}").json()
        assert "owns the server" in seen["barred"]
        assert seen["recommendation"] is None
        assert seen["work_items"][0]["chosen_because"]
        mine = api(reviewer).get(f"/api/v1/items/{item.pk}").json()
        assert mine["barred"] == []
        assert set(mine["recommendation"]) == {"value", "kept", "reasons", "counter"}
