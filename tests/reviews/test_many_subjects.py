"""One change, or one deadline, that touches many subjects: each gets its due, in as many statements as one."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from registry.audit.models import Event
from registry.catalog.models import Server, Tool
from registry.core import clock
from registry.reviews import services as reviews
from registry.reviews.cadence import end_of_day
from registry.reviews.models import AutomaticAction, Certificate, Item, LadderStep, Letter, Trigger, WorkItem
from registry.reviews.services import items, ladder
from registry.reviews.simulation import simulate
from tests import factories as make

MINUTE = timedelta(minutes=1)


def fresh(thing):
    return type(thing).objects.get(pk=thing.pk)


def certified_grants(number: int, **facts):
    """A server with so many certified grants; what called for reviews on the way is handled."""
    server = make.active_server()
    grants = make.many_grants(server, number)
    reviewer = make.person("reviewer")
    campaign = make.campaign(reviewer, kinds=["grant"], scope={"q": server.name}, **facts)
    for item in campaign.items.all():
        make.decide(item)
    make.sign(campaign, reviewer)
    Trigger.objects.update(handled_at=clock.now())
    return server, grants


def statements(act) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        act()
    return len(captured)


class TestAChange:
    @staticmethod
    def change(server: Server) -> int:
        """The definition of every tool changes; what rests on the server is looked at again."""
        Tool.objects.filter(server=server).update(digest="f" * 64, approved_digest="f" * 64)
        return reviews.recheck(kind="server", id=server.pk)

    def test_ends_every_certificate_and_calls_for_every_review(self, db):
        server, grants = certified_grants(4)
        other, others = certified_grants(2)
        assert self.change(server) == 4
        rows = Certificate.objects.filter(grant__server=server)
        assert set(rows.values_list("ended_because", flat=True)) == {"The certified facts changed."}
        assert {fresh(grant).certified_until for grant in grants} == {None}
        triggers = Trigger.objects.filter(handled_at=None)
        assert {trigger.grant_id for trigger in triggers} == {grant.pk for grant in grants}
        assert all("its definition changed" in trigger.detail for trigger in triggers)
        for act in ("certificate.ended", "trigger.raised"):
            told = Event.objects.filter(
                act=act, data__kind="grant", data__subject__in=[str(each.pk) for each in grants]
            )
            assert told.count() == 4, "one for each subject"
        assert {each.subject_label for each in Event.objects.filter(act="trigger.raised")} == {
            f"The certified facts changed: {grant}" for grant in grants
        }
        assert not Certificate.objects.filter(grant__server=other).exclude(ended_at=None).exists()
        assert all(fresh(grant).certified_until for grant in others)

    def test_again_does_nothing_more(self, db):
        server, _grants = certified_grants(3)
        self.change(server)
        before = Event.objects.count()
        assert self.change(server) == reviews.sweep_touched() == reviews.end_stale_certificates() == 0
        assert (Trigger.objects.filter(handled_at=None).count(), Event.objects.count()) == (3, before)

    def test_costs_as_many_statements_for_many_as_for_few(self, db):
        few, _ = certified_grants(2)
        many, _ = certified_grants(9)
        assert statements(lambda: self.change(many)) == statements(lambda: self.change(few))

    def test_killed_in_the_middle_nothing_has_happened(self, db, monkeypatch):
        server, grants = certified_grants(2)
        with monkeypatch.context() as patched:
            patched.setattr("registry.reviews.services.watch.raise_triggers", lambda **_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                self.change(server)
        assert Certificate.objects.filter(grant__in=grants, ended_at=None).count() == 2
        assert all(fresh(grant).certified_until for grant in grants)
        assert reviews.sweep_touched() == 2

    def test_a_risen_tier_shortens_in_as_many_statements(self, db):
        few, _ = certified_grants(2)
        many, grants = certified_grants(7)
        took = []
        for server in (few, many):
            make.override_tier(server, "critical")
            took.append(statements(lambda server=server: reviews.apply_tiers(server_ids=[server.pk])))
        assert took[0] == took[1]
        latest = end_of_day(clock.today() + timedelta(days=30))
        assert all(fresh(grant).certified_until <= latest for grant in grants)
        assert Certificate.objects.filter(grant__in=grants, ended_at=None, certified_until__lte=latest).count() == 7
        assert reviews.apply_tiers(server_ids=[many.pk]) == 0
        assert list(Trigger.objects.filter(handled_at=None, kind="grant")) == [], "what they may do is as it was"


class TestTriggers:
    def test_each_is_absorbed_known_or_new(self, db):
        server = make.active_server()
        first, second, third = make.many_grants(server, 3)
        make.campaign(make.person("reviewer"), kinds=["grant"], scope={"q": first.agent.name})
        item = Item.objects.filter(grant=second).first() or Item.objects.get(grant=first)
        Item.objects.exclude(pk=item.pk).update(state="cancelled")
        reviewed = item.grant
        new, known = [each for each in (first, second, third) if each != reviewed]
        reviews.raise_trigger(actor=make.SYSTEM_ACTOR, cause="regressed", kind="grant", subject_id=known.pk)
        subjects = {("grant", each.pk): "Seen." for each in (reviewed, new, known)} | {("server", server.pk): "Seen."}
        raised = reviews.raise_triggers(actor=make.SYSTEM_ACTOR, cause="regressed", subjects=subjects)
        assert {(each.subject_pk, each.absorbed_by_id) for each in raised} == {
            (reviewed.pk, item.pk), (new.pk, None), (server.pk, None),
        }  # fmt: skip
        assert reviews.raise_triggers(actor=make.SYSTEM_ACTOR, cause="regressed", subjects=subjects) == []
        assert Event.objects.filter(act="trigger.raised").count() == Trigger.objects.count() == 4


@pytest.fixture
def silent(db):
    """A campaign over so many grants of one server of a tier, in which nobody answers."""

    def launch(number: int, tier: str = "high", reviewers: int = 3):
        server = make.active_server()
        make.override_tier(server, tier)
        make.many_grants(server, number)
        pool = [make.person("reviewer") for _ in range(reviewers)]
        return make.campaign(*pool, kinds=["grant"], scope={"q": server.name})

    return launch


class TestTheDeadline:
    @staticmethod
    def escalate(campaign) -> None:
        at = campaign.due_at + MINUTE
        with clock.at(at):
            ladder._escalate_due(ladder.LADDER, campaign, at)

    @staticmethod
    def plan(campaign) -> None:
        at = campaign.due_at + MINUTE
        with clock.at(at):
            ladder._plan_due(ladder.LADDER, campaign, at)

    def test_everybody_late_loses_their_items_in_as_many_statements(self, silent):
        few, many = silent(2), silent(8)
        assert statements(lambda: self.escalate(many)) == statements(lambda: self.escalate(few))
        for item in many.items.all():
            late = item.work_items.get(state="closed")
            after = make.work_of(item)
            assert late.reviewer_id != after.reviewer_id
            assert (item.state, item.ladder_from) == ("in_review", many.due_at)
            assert item.due_at == many.due_at + timedelta(days=7)
            assert late.ladder_steps.get().detail == f"{late.reviewer} → {after.reviewer}"
            assert late.moves.get().to_reviewer == after.reviewer
        assert Event.objects.filter(act="work_item.escalated").count() == 10

    def test_a_rung_is_climbed_once(self, silent):
        campaign = silent(3)
        self.escalate(campaign)
        before = Event.objects.count(), WorkItem.objects.count()
        self.escalate(campaign)
        assert (Event.objects.count(), WorkItem.objects.count()) == before
        assert LadderStep.objects.count() == 3

    def test_one_that_cannot_go_holds_up_no_other(self, silent, monkeypatch):
        campaign = silent(3)
        bad = campaign.items.order_by("pk")[1]
        whole = items.replacements

        def failing(group, **given):
            if any(item.pk == bad.pk for item in group):
                raise ZeroDivisionError
            return whole(group, **given)

        with monkeypatch.context() as patched:
            patched.setattr(items, "replacements", failing)
            with pytest.raises(ExceptionGroup) as failed:
                self.escalate(campaign)
        assert len(failed.value.exceptions) == 1
        assert str(bad.pk) in failed.value.exceptions[0].__notes__[0]
        assert not LadderStep.objects.filter(work_item__item=bad).exists()
        assert make.work_of(bad).state == "open", "half of it has not happened"
        assert LadderStep.objects.count() == 2
        self.escalate(campaign)
        assert LadderStep.objects.count() == 3

    def test_with_nobody_left_each_stays_escalated(self, silent):
        campaign = silent(3, reviewers=1)
        self.escalate(campaign)
        assert set(campaign.items.values_list("state", flat=True)) == {"escalated"}
        assert set(LadderStep.objects.values_list("detail", flat=True)) == {
            f"{work_item.reviewer} → nobody is left" for work_item in WorkItem.objects.all()
        }

    def test_lapses_are_planned_in_as_many_statements_and_once(self, silent):
        few, many = silent(2, "low"), silent(9, "low")
        assert statements(lambda: self.plan(many)) == statements(lambda: self.plan(few))
        rows = AutomaticAction.objects.filter(item__campaign=many)
        assert set(rows.values_list("kind", "state", "due_at")) == {("lapse", "planned", many.due_at)}
        assert rows.count() == rows.values("item").distinct().count() == 9
        self.plan(many)
        assert rows.count() == 9
        assert all(row.pk.version == 7 for row in rows)

    def test_the_beginning_of_a_simulation_is_the_simulation_of_the_beginning(self, silent):
        campaign = silent(3, "low")
        Item.objects.filter(pk=campaign.items.first().pk).update(due_at=campaign.due_at + timedelta(days=3))
        now = campaign.due_at + MINUTE
        with clock.at(now):
            later = simulate(campaign, now + timedelta(days=7))
            assert later.until(now) == simulate(campaign, now)
        assert (later.lapse, later.until(now).lapse) == (3, 2)


class TestToldAtOnce:
    def test_who_is_handed_an_item_hears_of_it(self, silent):
        campaign = silent(1)
        held = make.work_of(campaign.items.get())
        to = make.person("reviewer")
        reviews.reassign_work_item(actor=make.acting(held.reviewer), work_item=held, to=to, note="You know it better.")
        letter = Letter.objects.get(to=to)
        assert held.item.label in letter.text
        assert "You know it better." in letter.text
        assert held.reviewer.name in letter.text
        assert f"/reviews/{campaign.pk}/" in letter.text

    def test_one_letter_for_everything_a_stand_in_gets(self, silent):
        campaign = silent(4, reviewers=1)
        away = make.work_of(campaign.items.first()).reviewer
        deputy = make.person("reviewer")
        reviews.create_delegation(
            actor=make.acting(away), delegator=away, delegate=deputy, starts_on=clock.today(), ends_on=clock.today()
        )
        letter = Letter.objects.get(to=deputy)
        assert letter.subject.startswith("4 reviews are yours now")
        assert f"{away} is away" in letter.text

    def test_before_a_campaign_runs_nobody_is_told(self, db):
        reviewer = make.person("reviewer")
        server = make.active_server(owner=reviewer)
        campaign = make.campaign(reviewer, kinds=["server"], scope={"q": server.name})
        assert campaign.state == "staged"
        to = make.person("reviewer")
        owner = make.acting(campaign.owner)
        reviews.assign_reviewer(actor=owner, item=campaign.items.get(), to=to, note="Please.")
        assert not Letter.objects.filter(to=to).exists()


def test_in_a_rolling_campaign_nothing_waits_longer_than_its_tier_may(db):
    servers = {tier: make.active_server() for tier in ("critical", "medium")}
    for tier, server in servers.items():
        make.override_tier(server, tier)
    campaign = make.campaign(
        make.person("reviewer"), kinds=["server"], rolling=True, duration_days=80, risk_analysis="Seldom changed."
    )
    due = {item.tier: item.due_at for item in campaign.items.all()}
    assert (due["critical"] - clock.now()).days == 30
    assert due["medium"] == campaign.due_at
    assert campaign.risk_analysis == "Seldom changed."
    campaign.template.risk_analysis = "Rewritten."
    campaign.template.save()
    assert fresh(campaign).risk_analysis == "Seldom changed.", "as it was at launch"
