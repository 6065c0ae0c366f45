"""What calls for a review at once, how it becomes a micro-certification, and what absorbs it."""

from datetime import timedelta

import pytest

from registry.accounts import services as accounts
from registry.accounts.models import User
from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.core import clock
from registry.core.errors import Conflict, Invalid, NotAllowed, SecretRefused
from registry.reviews import services as reviews
from registry.reviews.cadence import MICRO_DAYS, end_of_day
from registry.reviews.models import Campaign, Certificate, Item, Trigger
from tests import factories as make

WATCH = make.SYSTEM_ACTOR


def fresh(thing):
    return type(thing).objects.get(pk=thing.pk)


def raised(server, cause="facts_changed", detail=""):
    return reviews.raise_trigger(actor=WATCH, cause=cause, kind="server", subject_id=server.pk, detail=detail)


def gathered() -> Campaign | None:
    """Gather and generate, as two tasks would."""
    campaign = reviews.gather_triggers(now=clock.now())
    if campaign is not None:
        reviews.generate_items(campaign_id=campaign.pk)
        campaign.refresh_from_db()
    return campaign


def certified_server(tier="medium", **facts):
    """A server with a certificate of its own, signed by a reviewer."""
    server = make.active_server(**facts)
    by = make.acting(make.person("security"))
    catalog.override_tier(actor=by, server=server, tier=tier, reason="For the test.")
    reviewer = make.person("reviewer")
    campaign = make.campaign(reviewer, kinds=["server"], scope={"q": server.name})
    make.decide(campaign.items.get())
    make.sign(campaign, reviewer)
    Trigger.objects.update(handled_at=clock.now())
    return fresh(server)


class TestRaising:
    def test_open_once_per_subject_and_cause(self, db):
        server = make.active_server()
        assert raised(server) is not None
        assert raised(server) is None
        assert raised(server, "owner_left") is not None
        assert raised(make.active_server()) is not None
        assert Trigger.objects.count() == 3
        assert Event.objects.filter(act="trigger.raised").count() == 3

    def test_an_open_item_absorbs_it_at_once(self, db):
        """Invariant 15."""
        reviewer = make.person("reviewer")
        server = make.active_server()
        item = make.campaign(reviewer, kinds=["server"]).items.get()
        trigger = raised(server, detail="A tool was added.")
        assert (trigger.absorbed_by, trigger.campaign) == (item, None)
        assert trigger.handled_at is not None
        assert raised(server) is None, "the item knows"
        assert gathered() is None
        assert list(item.triggers.all()) == [trigger]

    def test_the_item_shows_it(self, db, web):
        reviewer = make.person("reviewer")
        server = make.active_server()
        item = make.campaign(reviewer, kinds=["server"]).items.get()
        raised(server, "by_hand", detail="Asked by the incident team.")
        shown = web(reviewer).get(f"/reviews/{item.campaign_id}/items/{item.pk}/").content.decode()
        assert "Asked by the incident team." in shown


class TestGathering:
    def test_all_that_wait_become_one_campaign(self, db):
        make.person("reviewer")
        servers = [make.active_server() for _ in range(3)]
        grant = make.grant(server=servers[0])
        for server in servers:
            raised(server)
        raised(servers[0], "owner_left")
        reviews.raise_trigger(actor=WATCH, cause="regressed", kind="grant", subject_id=grant.pk)
        campaign = gathered()
        assert (campaign.kind, campaign.state) == ("micro", "active")
        assert {item.subject_pk for item in campaign.items.all()} == {grant.pk, *(server.pk for server in servers)}
        assert set(Trigger.objects.values_list("campaign", flat=True)) == {campaign.pk}
        assert gathered() is None
        assert Campaign.objects.filter(kind="micro").count() == 1

    def test_its_name_says_what_it_is(self, db):
        make.person("reviewer")
        server = make.active_server()
        raised(server)
        assert gathered().name == f"The certified facts changed: {server}"

    def test_due_by_tier(self, db):
        make.person("reviewer")
        by = make.acting(make.person("security"))
        servers = {}
        for tier in MICRO_DAYS:
            servers[tier] = make.active_server()
            catalog.override_tier(actor=by, server=servers[tier], tier=tier, reason="For the test.")
            raised(servers[tier])
        campaign = gathered()
        due = {item.tier: item.due_at for item in campaign.items.all()}
        assert due == {tier: end_of_day(clock.today() + timedelta(days=days)) for tier, days in MICRO_DAYS.items()}
        assert campaign.due_at == due["low"]

    def test_the_template_for_changes_says_how(self, db):
        reviewer = make.person("reviewer")
        make.person("reviewer")
        ladder = {"critical": [{"day": 0, "act": "suspend"}]}
        template = make.template(reviewer, for_changes=True, ladder=ladder, challenge_days=5)
        raised(make.active_server())
        campaign = gathered()
        assert (campaign.template, campaign.owner, campaign.challenge_days) == (template, template.owner, 5)
        assert campaign.ladder["critical"] == ladder["critical"]
        assert campaign.ladder["low"], "every tier has a ladder"
        assert make.work_of(campaign.items.get()).reviewer == reviewer

    def test_without_a_reviewer_security_is_asked(self, db):
        server = make.active_server()
        User.objects.filter(roles__contains=["reviewer"]).update(is_active=False)
        guard = make.person("security")
        raised(server)
        assert make.work_of(gathered().items.get()).reviewer == guard

    def test_what_is_under_review_meanwhile_absorbs_it(self, db):
        """Invariant 15, the other order: the item was opened between the trigger and the gathering."""
        reviewer = make.person("reviewer")
        server = make.active_server()
        trigger = raised(server)
        item = make.campaign(reviewer, kinds=["server"]).items.get()
        assert gathered() is None
        assert fresh(trigger).absorbed_by == item

    def test_what_ended_meanwhile_is_not_reviewed(self, db):
        grant = make.grant()
        trigger = reviews.raise_trigger(actor=WATCH, cause="regressed", kind="grant", subject_id=grant.pk)
        Trigger.objects.exclude(pk=trigger.pk).update(handled_at=clock.now())
        make.trust.revoke_relationship(actor=make.acting(make.person("security")), relationship=grant, reason="Gone")
        assert gathered() is None
        trigger = fresh(trigger)
        assert trigger.handled_at is not None
        assert (trigger.campaign, trigger.absorbed_by) == (None, None)

    def test_killed_in_the_middle_it_has_not_happened(self, db, monkeypatch):
        make.person("reviewer")
        trigger = raised(make.active_server())
        with monkeypatch.context() as patched:
            patched.setattr("registry.reviews.services.micro._handle", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                reviews.gather_triggers(now=clock.now())
        assert not Campaign.objects.filter(kind="micro").exists()
        assert fresh(trigger).handled_at is None
        assert gathered() is not None


class TestSomebodyLeft:
    def leave(self, user):
        admin = make.acting(make.person("administrator"))
        accounts.set_active(actor=admin, user=user, active=False)
        return reviews.notice_departures(user_id=user.pk)

    @pytest.mark.parametrize("part", ["owner", "deputy"])
    def test_a_server_loses_its_owner_or_deputy(self, db, part):
        server = make.active_server()
        assert self.leave(getattr(server, part)) == 1
        trigger = Trigger.objects.get()
        assert (trigger.cause, trigger.server) == ("owner_left", server)
        assert part in trigger.detail

    def test_an_agent_loses_its_owner(self, db):
        agent = make.agent()
        assert self.leave(agent.owner) == 1
        assert Trigger.objects.get().agent == agent

    def test_once_per_departure(self, db):
        make.person("reviewer")
        server = make.active_server()
        owner = server.owner
        self.leave(owner)
        gathered()
        assert reviews.notice_departures() == 0, "the sweep knows it"
        campaign = Campaign.objects.get(kind="micro")
        reviews.cancel_campaign(actor=WATCH, campaign=campaign, reason="For the test.")
        assert reviews.notice_departures() == 0
        admin = make.acting(make.person("administrator"))
        with clock.at(clock.now() + timedelta(days=1)):
            accounts.set_active(actor=admin, user=owner, active=True)
            accounts.set_active(actor=admin, user=owner, active=False)
            assert reviews.notice_departures() == 1, "they came back and left again"

    def test_not_for_what_is_not_in_service(self, db):
        assert self.leave(make.complete_draft().owner) == 0

    def test_the_sweep_finds_what_no_event_told(self, db):
        server = make.active_server()
        admin = make.acting(make.person("administrator"))
        accounts.set_active(actor=admin, user=server.owner, active=False)
        assert reviews.notice_departures() == 1


class TestATierRises:
    def test_is_reviewed_and_its_certificate_shortened(self, db):
        server = certified_server("medium")
        before = Certificate.objects.get(server=server, ended_at=None)
        by = make.acting(make.person("security"))
        catalog.override_tier(actor=by, server=server, tier="critical", reason="It holds payment data now.")
        assert reviews.notice_tier(server_id=server.pk, before="medium") is True
        trigger = Trigger.objects.get(cause="tier_rose")
        assert trigger.detail == "medium → critical"
        after = Certificate.objects.get(server=server, ended_at=None)
        assert after.certified_until < before.certified_until
        assert after.certified_until == end_of_day(clock.today() + timedelta(days=30))
        assert after.decision == before.decision
        assert after.fingerprint == before.fingerprint
        assert "critical" in fresh(before).ended_because
        assert fresh(server).certified_until == after.certified_until
        assert reviews.sweep_tiers() == 0, "the sweep knows it"

    @pytest.mark.parametrize("tier", ["critical", "high", "medium", "low"])
    def test_what_a_signature_certifies_in_full_is_not_too_long_for_its_tier(self, db, tier):
        server = certified_server(tier)
        before = Certificate.objects.get(server=server, ended_at=None)
        for later in (timedelta(minutes=10), timedelta(days=1)):
            with clock.at(clock.now() + later):
                assert reviews.apply_tiers() == 0
        assert fresh(before).ended_at is None

    def test_a_fall_changes_nothing(self, db):
        server = certified_server("critical")
        before = Certificate.objects.get(server=server, ended_at=None)
        by = make.acting(make.person("security"))
        catalog.override_tier(actor=by, server=server, tier="low", reason="It was moved to a sandbox.")
        assert reviews.notice_tier(server_id=server.pk, before="critical") is False
        assert reviews.sweep_tiers() == 0
        assert fresh(before).ended_at is None

    def test_the_sweep_finds_what_no_event_told(self, db):
        server = certified_server("medium")
        by = make.acting(make.person("security"))
        catalog.override_tier(actor=by, server=server, tier="high", reason="It holds payment data now.")
        assert reviews.sweep_tiers() == 2, "one trigger, one certificate"
        assert Trigger.objects.get(cause="tier_rose").server == server
        assert reviews.sweep_tiers() == 0

    def test_an_open_item_is_due_earlier_with_a_logged_reason(self, db):
        server = make.active_server()
        by = make.acting(make.person("security"))
        catalog.override_tier(actor=by, server=server, tier="low", reason="A sandbox.")
        item = make.campaign(make.person("reviewer"), kinds=["server"]).items.get()
        before = item.due_at
        catalog.override_tier(actor=by, server=server, tier="critical", reason="Not a sandbox any more.")
        reviews.notice_tier(server_id=server.pk, before="low")
        item = fresh(item)
        assert item.tier == "critical"
        assert item.due_at == end_of_day(clock.today() + timedelta(days=3)) < before
        logged = Event.objects.get(act="item.tier_rose")
        assert logged.data["reason"] == "The tier rose from low to critical."
        assert Trigger.objects.get(cause="tier_rose").absorbed_by == item

    def test_the_tier_of_a_draft_is_nobodys_business_yet(self, db):
        server = make.complete_draft()
        assert reviews.notice_tier(server_id=server.pk, before="low") is False
        assert not Trigger.objects.exists()


class TestByHand:
    def test_security_or_a_manager_asks(self, db):
        make.person("reviewer")
        server = make.active_server()
        for role in ("security", "campaign_manager"):
            trigger = reviews.ask_for_review(
                actor=make.acting(make.person(role)), kind="server", subject=server, reason="CVE in its library."
            )
            assert trigger.detail == "CVE in its library."
            Trigger.objects.update(handled_at=clock.now())

    def test_others_may_not(self, db):
        server = make.active_server()
        for person in (server.owner, make.person("reviewer"), make.person("auditor"), make.person()):
            with pytest.raises(NotAllowed):
                reviews.ask_for_review(actor=make.acting(person), kind="server", subject=server, reason="x")

    def test_not_twice_and_not_for_what_is_reviewed_or_gone(self, db):
        guard = make.acting(make.person("security"))
        server = make.active_server()
        with pytest.raises(Invalid):
            reviews.ask_for_review(actor=guard, kind="server", subject=server, reason="  ")
        with pytest.raises(SecretRefused):
            reviews.ask_for_review(actor=guard, kind="server", subject=server, reason="ghp_" + "a1B2" * 9)
        reviews.ask_for_review(actor=guard, kind="server", subject=server, reason="An incident.")
        with pytest.raises(Conflict, match="asked for this review already"):
            reviews.ask_for_review(actor=guard, kind="server", subject=server, reason="An incident.")
        gathered()
        with pytest.raises(Conflict, match="under review already"):
            reviews.ask_for_review(actor=guard, kind="server", subject=server, reason="An incident.")
        retired = catalog.retire_server(actor=make.acting(make.person("administrator")), server=make.active_server(),
                                        reason="Over.")  # fmt: skip
        with pytest.raises(Conflict, match="has ended"):
            reviews.ask_for_review(actor=guard, kind="server", subject=retired, reason="An incident.")

    def test_from_the_servers_page(self, db, web):
        make.person("reviewer")
        server, guard = make.active_server(), make.person("security")
        panel = f"/reviews/panels/server/{server.pk}/"
        assert "Review it now" in web(guard).get(panel).content.decode()
        assert "Review it now" not in web(make.person()).get(panel).content.decode()
        page = f"/reviews/ask/server/{server.pk}/"
        assert web(make.person()).get(page).status_code == 403
        assert web(guard).post(page, {"reason": ""}).status_code == 422
        done = web(guard).post(page, {"reason": "A new incident."}, follow=True)
        assert "A new incident." in done.content.decode()
        assert "waits" in done.content.decode()

    def test_rest(self, db, api):
        make.person("reviewer")
        server, guard = make.active_server(), make.person("security")
        asked = {"kind": "server", "subject": str(server.pk), "reason": "A new incident."}
        assert api(make.person()).post("/api/v1/review-triggers", asked).status_code == 403
        answer = api(guard).post("/api/v1/review-triggers", asked)
        assert answer.status_code == 201
        assert answer.json()["cause"] == "by_hand"
        assert api(guard).post("/api/v1/review-triggers", asked).status_code == 409
        unknown = {**asked, "subject": str(guard.pk)}
        assert api(guard).post("/api/v1/review-triggers", unknown).status_code == 404
        campaign = gathered()
        listed = api(guard).get("/api/v1/review-triggers", {"campaign": str(campaign.pk)}).json()["results"]
        assert [each["subject"] for each in listed] == [str(server.pk)]

    def test_what_one_may_not_see_does_not_exist(self, db, web, api):
        server = make.active_server(confidential=True)
        manager = make.person("campaign_manager")
        assert web(manager).get(f"/reviews/ask/server/{server.pk}/").status_code == 404
        raised(server)
        assert server.name not in web(make.person()).get("/reviews/triggers/").content.decode()
        assert api(make.person()).get("/api/v1/review-triggers").json()["results"] == []
        assert web(make.person("security")).get("/reviews/triggers/").content.decode().count(server.name) >= 1


def test_the_list_needs_a_constant_number_of_queries(db, web, django_assert_max_num_queries):
    reader = web(make.person("security"))
    for _ in range(3):
        raised(make.active_server())
    reader.get("/reviews/triggers/")
    with django_assert_max_num_queries(14):
        reader.get("/reviews/triggers/")


@pytest.mark.worker
@pytest.mark.django_db(transaction=True)
def test_one_change_opens_a_micro_certification_within_seconds(worker):
    """The whole way with a real worker: the certificate ends, a trigger is raised, gathered, generated, opened."""
    server = certified_server("medium")
    make.person("reviewer")
    catalog.set_tools(
        actor=make.acting(server.owner),
        server=server,
        tools=[{"name": "refund", "description": "Pays money back.", "confirmed_class": "destructive"}],
    )
    worker.wait_for(
        lambda: Item.objects.filter(server=server, campaign__kind="micro", state="in_review").exists(),
        "the micro-certification",
        within=40,
    )
    assert Certificate.objects.filter(server=server, ended_at=None).count() == 0
    assert fresh(server).certified_until is None
