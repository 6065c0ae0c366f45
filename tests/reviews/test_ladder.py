"""The no-response ladder: what silence brings about, when, how often, and what stops it."""

import random
import time
from collections import Counter
from datetime import datetime, timedelta

import pytest

from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.catalog.models import Server
from registry.core import clock
from registry.core.errors import Changed, Conflict, Invalid, NotAllowed, NotIndependent, SecretRefused
from registry.reviews import services as reviews
from registry.reviews import silence, tasks
from registry.reviews.models import (
    AutomaticAction,
    Campaign,
    Certificate,
    Item,
    LadderStep,
    Letter,
    Remediation,
    Trigger,
    WorkItemMove,
)
from registry.reviews.services import remediation
from registry.reviews.services.items import TooLate
from registry.reviews.simulation import simulate
from tests import factories as make

MINUTE = timedelta(minutes=1)


def of_tier(server: Server, tier: str) -> Server:
    by = make.acting(make.person("security"))
    return catalog.override_tier(actor=by, server=server, tier=tier, reason="For the test.")


def sweep(at: datetime) -> int:
    with clock.at(at):
        return reviews.sweep_ladders(now=at)


@pytest.fixture
def silent(db):
    """A campaign in which nobody answers, over servers of the tiers given."""

    def launch(*tiers: str, reviewers: int = 3, **facts) -> Campaign:
        pool = [make.person("reviewer", name=f"Reviewer {number}") for number in range(reviewers)]
        for tier in tiers:
            of_tier(make.active_server(), tier)
        return make.campaign(*pool, kinds=["server"], **facts)

    return launch


@pytest.fixture
def lenient(monkeypatch):
    """Many items without the cost of making many servers: the breaker trips after two."""
    monkeypatch.setattr(silence, "BREAKER_ITEMS", 2)


def fresh(thing):
    return type(thing).objects.get(pk=thing.pk)


class TestRungs:
    def test_high_is_escalated_then_suspended_and_lapses(self, silent):
        campaign = silent("high")
        item, deadline = campaign.items.get(), campaign.due_at
        first = make.work_of(item)
        assert sweep(deadline - MINUTE) == 0
        assert make.work_of(item) == first

        sweep(deadline + MINUTE)
        item, second = fresh(item), make.work_of(item)
        assert second.reviewer != first.reviewer
        assert fresh(first).state == "closed"
        assert WorkItemMove.objects.get(work_item=first).kind == "escalated"
        assert item.state == "in_review"
        assert (item.due_at, item.deadline) == (deadline + timedelta(days=7), deadline)

        assert sweep(deadline + timedelta(days=6)) == 0
        assert fresh(item.server).lifecycle == "active"
        assert sweep(deadline + timedelta(days=7, minutes=1)) == 1
        item, action = fresh(item), AutomaticAction.objects.get()
        assert (item.state, item.outcome) == ("lapsed", "no_response")
        assert fresh(item.server).lifecycle == "suspended"
        assert (action.kind, action.state, action.suspended) == ("suspend", "done", [["server", str(item.server_id)]])
        assert fresh(campaign).state == "sign_off"

    def test_critical_is_suspended_after_two_days_and_revoked_after_thirty(self, silent):
        campaign = silent("critical")
        item, deadline = campaign.items.get(), campaign.due_at
        sweep(deadline + MINUTE)
        assert sweep(deadline + timedelta(days=2, minutes=1)) == 1
        item = fresh(item)
        assert fresh(item.server).lifecycle == "suspended"
        assert item.state == "in_review"
        assert item.due_at == deadline + timedelta(days=30), "answers are taken until the ladder acts next"
        assert sweep(deadline + timedelta(days=29)) == 0
        assert sweep(deadline + timedelta(days=30, minutes=1)) == 1
        row = Remediation.objects.get(item=item)
        assert (row.kind, row.decision) == ("revoke", None)
        assert fresh(item).state == "lapsed"

    def test_medium_lapses_and_gateways_see_it(self, silent):
        campaign = silent("medium")
        item, deadline = campaign.items.get(), campaign.due_at
        for days in (0, 14):
            sweep(deadline + timedelta(days=days, minutes=1))
        item = fresh(item)
        assert (item.state, item.outcome) == ("lapsed", "no_response")
        server = fresh(item.server)
        assert (server.lifecycle, server.certified_until) == ("active", None)

    def test_low_lapses_at_once(self, silent):
        campaign = silent("low")
        sweep(campaign.due_at + MINUTE)
        assert campaign.items.get().state == "lapsed"

    def test_lapsing_ends_the_certificate(self, silent):
        reviewer = make.person("reviewer")
        server = of_tier(make.active_server(), "low")
        earlier = make.campaign(reviewer, kinds=["server"])
        make.decide(earlier.items.get())
        make.sign(earlier, reviewer)
        assert Certificate.objects.filter(server=server, ended_at=None).exists()
        campaign = make.campaign(reviewer, kinds=["server"])
        sweep(campaign.due_at + MINUTE)
        assert not Certificate.objects.filter(server=server, ended_at=None).exists()
        assert fresh(server).certified_until is None

    def test_nobody_is_named_for_what_the_clock_did(self, silent):
        """Invariant 8."""
        campaign = silent("low", "medium", "critical")
        for days in (0, 2, 14, 30):
            sweep(campaign.due_at + timedelta(days=days, minutes=1))
        acts = Event.objects.filter(act__in=["item.lapsed", "automatic_action.done", "server.suspended"])
        assert acts.count() >= 6
        assert set(acts.values_list("actor_kind", "actor_id")) == {("system", None)}
        assert not AutomaticAction.objects.exclude(decided_by=None, restored_by=None).exists()
        assert set(Item.objects.values_list("outcome", flat=True)) == {"no_response"}

    def test_a_draft_is_no_answer(self, silent):
        campaign = silent("low")
        item = campaign.items.get()
        make.decide(item)
        sweep(campaign.due_at + MINUTE)
        assert fresh(item).state == "lapsed"
        assert not item.work_items.filter(decisions__isnull=False).exists()

    def test_who_signed_is_left_alone(self, silent):
        campaign = silent("high", reviewers=1)
        item = campaign.items.get()
        make.decide(item)
        make.sign(campaign, item.work_items.get().reviewer)
        for days in (0, 7, 40):
            sweep(campaign.due_at + timedelta(days=days, minutes=1))
        assert fresh(item).state == "certified"
        assert not AutomaticAction.objects.exists()
        assert not LadderStep.objects.exists()

    def test_a_certify_beside_silence_certifies_where_one_denial_denies(self, silent):
        campaign = silent("medium", reviewers=2, reviewers_per_item=2, strategy="one_deny_denies")
        item = campaign.items.get()
        held = item.work_items.order_by("pk").first()
        reviews.save_decision(
            actor=make.acting(held.reviewer), work_item=held, value="certify", reason="Fine.",
            evidence_hash=item.seen.evidence_hash,
        )  # fmt: skip
        make.sign(campaign, held.reviewer)
        at = campaign.due_at + timedelta(days=14, minutes=1)
        with clock.at(at):
            assert simulate(campaign, at).total == 0
        sweep(at)
        assert fresh(item).state == "certified"
        assert not AutomaticAction.objects.exclude(state="dropped").exists()

    def test_nobody_left_to_ask_does_not_stop_the_ladder(self, silent):
        campaign = silent("high", reviewers=1)
        item = campaign.items.get()
        sweep(campaign.due_at + MINUTE)
        assert fresh(item).state == "escalated"
        sweep(campaign.due_at + timedelta(days=7, minutes=1))
        assert fresh(item).state == "lapsed"
        assert fresh(item.server).lifecycle == "suspended"

    def test_a_relationship_is_suspended_too(self, db):
        reviewer = make.person("reviewer")
        server = of_tier(make.active_server(), "high")
        grant = make.grant(server=server)
        campaign = make.campaign(reviewer, kinds=["grant"])
        for days in (0, 7):
            sweep(campaign.due_at + timedelta(days=days, minutes=1))
        assert fresh(grant).status == "suspended"
        assert AutomaticAction.objects.get().suspended == [["grant", str(grant.pk)]]

    def test_a_registration_is_only_reminded_of(self, db):
        make.person("reviewer")
        item = make.intake(make.submitted_server())
        for days in (0, 2, 30, 90):
            sweep(item.campaign.due_at + timedelta(days=days, minutes=1))
        assert not AutomaticAction.objects.exists()


class TestDeadlines:
    """Invariant 7."""

    def test_late_is_refused_until_the_ladder_gives_more_time_and_again_after_it(self, silent):
        campaign = silent("high")
        item = campaign.items.get()
        at = campaign.due_at + MINUTE
        with clock.at(at), pytest.raises(TooLate):
            make.decide(item)
        sweep(at)
        with clock.at(at + MINUTE):
            make.decide(item)
        with clock.at(campaign.due_at + timedelta(days=7, minutes=1)), pytest.raises(TooLate):
            make.sign(campaign, make.work_of(item).reviewer)

    def test_an_extension_starts_the_ladder_anew(self, silent):
        campaign = silent("high")
        deadline = campaign.due_at
        sweep(deadline + MINUTE)
        with clock.at(deadline + timedelta(days=1)):
            until = (deadline + timedelta(days=7)).date()
            reviews.extend_campaign(
                actor=make.acting(campaign.owner), campaign=campaign, until=until, reason="Holidays"
            )
        item = campaign.items.get()
        assert item.deadline == item.due_at == deadline + timedelta(days=7)
        sweep(deadline + timedelta(days=7, minutes=1))
        assert fresh(item.server).lifecycle == "active"
        assert LadderStep.objects.filter(act="escalate").count() == 2

    def test_the_next_rung_waits_for_a_worker_that_slept(self, silent):
        """Whoever gets an escalated item has the time between two rungs, however late it was escalated."""
        campaign = silent("critical")
        item, woke = campaign.items.get(), campaign.due_at + timedelta(days=40)
        assert sweep(woke) == 0
        item = fresh(item)
        assert item.due_at == woke + timedelta(days=2)
        assert fresh(item.server).lifecycle == "active"
        assert sweep(woke + timedelta(days=1)) == 0
        assert sweep(woke + timedelta(days=2)) == 1
        assert sweep(woke + timedelta(days=29)) == 0
        assert sweep(woke + timedelta(days=30)) == 1


class TestIdempotence:
    """Invariant 14."""

    def test_again_and_again_is_once(self, silent):
        campaign = silent("high", "critical", "medium")
        for days in (0, 0, 2, 2, 7, 7, 14, 14):
            for _ in range(2):
                sweep(campaign.due_at + timedelta(days=days, minutes=1))
        assert Counter(AutomaticAction.objects.values_list("kind", flat=True)) == {"suspend": 2, "lapse": 1}
        assert LadderStep.objects.filter(act="escalate").count() == 3
        steps = LadderStep.objects.values_list("work_item", "rung")
        assert len(steps) == len(set(steps))

    def test_the_database_refuses_a_rung_twice(self, silent):
        from django.db import IntegrityError, transaction

        campaign = silent("high")
        sweep(campaign.due_at + MINUTE)
        step = LadderStep.objects.get(act="escalate")
        with pytest.raises(IntegrityError), transaction.atomic():
            LadderStep.objects.create(work_item=step.work_item, rung=step.rung, act=step.act, at=step.at)

    def test_killed_between_plan_and_act(self, silent, monkeypatch):
        campaign = silent("low")
        with monkeypatch.context() as patched:
            patched.setattr("registry.reviews.services.ladder._carry_out", lambda *_: 1 / 0)
            with pytest.raises(ExceptionGroup):
                sweep(campaign.due_at + MINUTE)
        assert AutomaticAction.objects.get().state == "planned"
        assert sweep(campaign.due_at + 2 * MINUTE) == 1
        assert AutomaticAction.objects.get().state == "done"

    def test_one_subject_that_cannot_be_cut_holds_up_no_other(self, silent, monkeypatch):
        campaign = silent("high", "high")
        first, second = campaign.items.order_by("pk")
        sweep(campaign.due_at + MINUTE)
        cut = remediation.cut

        def fragile(actor, item, reason, *, mode):
            if item.pk == first.pk:
                raise Conflict("Not now.")
            return cut(actor, item, reason, mode=mode)

        with monkeypatch.context() as patched:
            patched.setattr(remediation, "cut", fragile)
            assert sweep(campaign.due_at + timedelta(days=7, minutes=1)) == 1
        assert (fresh(first).state, fresh(second).state) == ("in_review", "lapsed")
        assert sweep(campaign.due_at + timedelta(days=7, minutes=6)) == 1
        assert fresh(first).state == "lapsed"


class TestBreaker:
    def test_the_rest_waits_and_the_owner_hears_it_once(self, silent, lenient):
        campaign = silent(*["low"] * 5)
        assert sweep(campaign.due_at + MINUTE) == 2
        sweep(campaign.due_at + 2 * MINUTE)
        assert Counter(AutomaticAction.objects.values_list("state", flat=True)) == {"done": 2, "held": 3}
        letter = Letter.objects.get(key__startswith="held")
        assert letter.to == campaign.owner
        assert "3 automatic actions" in letter.text
        assert fresh(campaign).state == "active"

    def test_five_items_or_five_percent(self, silent):
        campaign = silent("low")
        assert silence.breaker_limit(campaign) == 5

    def test_the_window_is_24_hours(self, silent, lenient):
        campaign = silent("low", "low", "medium")
        with clock.at(campaign.due_at + MINUTE):
            pass
        sweep(campaign.due_at + MINUTE)
        for days in (0, 14):
            sweep(campaign.due_at + timedelta(days=days, minutes=2))
        assert Counter(AutomaticAction.objects.values_list("state", flat=True)) == {"done": 3}

    @pytest.fixture
    def held(self, silent, lenient):
        campaign = silent(*["high"] * 4)
        for days in (0, 7):
            sweep(campaign.due_at + timedelta(days=days, minutes=1))
        return campaign, list(AutomaticAction.objects.filter(state="held")), campaign.due_at + timedelta(days=8)

    def test_a_second_person_releases_and_the_ladder_carries_out(self, held):
        campaign, actions, at = held
        guard = make.person("security")
        with clock.at(at):
            assert reviews.release_actions(actor=make.acting(guard), actions=actions, reason="They are gone.") == 2
            assert {fresh(each).state for each in actions} == {"planned"}
            assert reviews.carry_out_actions(campaign_id=campaign.pk, now=at) == 2
        for action in map(fresh, actions):
            assert (action.state, action.decided_by, action.reason) == ("done", guard, "They are gone.")
            assert fresh(action.item).state == "lapsed"
        done = Event.objects.filter(act="automatic_action.done").latest("at")
        assert done.actor_kind == "system"
        assert done.data["released_by"] == str(guard.pk)

    def test_declined_items_get_a_new_deadline_and_a_new_ladder(self, held):
        campaign, actions, at = held
        with clock.at(at):
            manager = make.acting(make.person("campaign_manager"))
            assert reviews.decline_actions(actor=manager, actions=actions, reason="Their mail was down.") == 2
        for action in map(fresh, actions):
            item = fresh(action.item)
            assert action.state == "declined"
            assert item.due_at == item.deadline > at
            assert fresh(item.server).lifecycle == "active"
        item = fresh(actions[0].item)
        with clock.at(item.due_at - MINUTE):
            make.decide(item)
        sweep(item.due_at + MINUTE)
        sweep(item.due_at + timedelta(days=7, minutes=2))
        assert set(Item.objects.filter(campaign=campaign).values_list("state", flat=True)) == {"lapsed"}

    def test_who_may(self, held):
        campaign, actions, _ = held
        with pytest.raises(NotAllowed, match="Only security or a campaign manager"):
            reviews.release_actions(actor=make.acting(make.person("reviewer")), actions=actions, reason="x")
        with pytest.raises(NotAllowed, match="second person"):
            reviews.release_actions(actor=make.acting(campaign.owner), actions=actions, reason="x")
        owner = actions[0].item.server.owner
        owner.roles = ["security"]
        owner.save()
        with pytest.raises(NotIndependent, match="owns the server"):
            reviews.release_actions(actor=make.acting(owner), actions=actions, reason="x")
        assert {fresh(each).state for each in actions} == {"held"}, "all or none"
        guard = make.acting(make.person("security"))
        with pytest.raises(Invalid):
            reviews.decline_actions(actor=guard, actions=actions, reason=" ")
        with pytest.raises(SecretRefused):
            reviews.release_actions(actor=guard, actions=actions, reason="token ghp_" + "a1B2" * 9)
        reviews.release_actions(actor=guard, actions=actions, reason="Fine.")
        with pytest.raises(Conflict, match="no longer waits"):
            reviews.release_actions(actor=guard, actions=actions, reason="Fine.")

    def test_an_extension_makes_held_actions_unnecessary(self, held):
        campaign, actions, at = held
        with clock.at(at):
            until = (at + timedelta(days=10)).date()
            reviews.extend_campaign(actor=make.acting(campaign.owner), campaign=campaign, until=until, reason="Again")
        sweep(at + MINUTE)
        assert {fresh(each).state for each in actions} == {"dropped"}
        item = fresh(actions[0].item)
        sweep(item.due_at + MINUTE)
        sweep(item.due_at + timedelta(days=7, minutes=1))
        assert fresh(item).state == "lapsed", "the ladder goes on from the new deadline"


class TestRestore:
    @pytest.fixture
    def suspended(self, silent):
        campaign = silent("critical")
        for days in (0, 2):
            sweep(campaign.due_at + timedelta(days=days, minutes=1))
        return AutomaticAction.objects.get(), campaign.due_at + timedelta(days=3)

    @pytest.mark.parametrize("role", ["security", "campaign_manager"])
    def test_gives_back_exactly_what_was_suspended(self, suspended, role):
        action, at = suspended
        person = make.person(role)
        with clock.at(at):
            reviews.restore_action(actor=make.acting(person), action=action, reason="Production stood still.")
        action = fresh(action)
        assert (action.state, action.restored_by, action.reason) == ("restored", person, "Production stood still.")
        assert fresh(action.item.server).lifecycle == "active"
        trigger = Trigger.objects.get()
        assert (trigger.cause, trigger.absorbed_by) == ("restored", action.item)

    def test_after_the_item_lapsed_a_review_of_it_opens(self, silent):
        campaign = silent("high")
        for days in (0, 7):
            sweep(campaign.due_at + timedelta(days=days, minutes=1))
        action = AutomaticAction.objects.get()
        reviews.restore_action(actor=make.acting(make.person("security")), action=action, reason="Needed.")
        micro = reviews.gather_triggers(now=clock.now())
        assert micro.kind == "micro"
        reviews.generate_items(campaign_id=micro.pk)
        assert fresh(micro).items.get().server == action.item.server

    def test_who_may(self, suspended):
        action, _ = suspended
        for person in (make.person("reviewer"), make.person("auditor"), make.person()):
            with pytest.raises(NotAllowed):
                reviews.restore_action(actor=make.acting(person), action=action, reason="x")
        owner = action.item.server.owner
        owner.roles = ["security"]
        owner.save()
        with pytest.raises(NotIndependent):
            reviews.restore_action(actor=make.acting(owner), action=action, reason="x")
        guard = make.acting(make.person("security"))
        with pytest.raises(Invalid):
            reviews.restore_action(actor=guard, action=action, reason="")
        with pytest.raises(Changed):
            reviews.restore_action(actor=guard, action=action, reason="x", expected_version='"old.1"')
        reviews.restore_action(actor=guard, action=action, reason="x")
        with pytest.raises(Conflict):
            reviews.restore_action(actor=guard, action=action, reason="x")

    def test_what_somebody_stopped_again_stays_stopped(self, suspended):
        action, at = suspended
        guard = make.acting(make.person("security"))
        server = action.item.server
        with clock.at(at):
            catalog.resume_server(actor=guard, server=server, reason="Checked.")
        with clock.at(at + MINUTE):
            catalog.suspend_server(actor=guard, server=fresh(server), reason="An incident.")
            with pytest.raises(Conflict, match="Nothing is left"):
                reviews.restore_action(actor=guard, action=action, reason="Back to work.")
        assert fresh(server).lifecycle == "suspended"

    def test_certifying_a_suspended_item_puts_it_back(self, suspended):
        action, at = suspended
        with clock.at(at):
            make.decide(action.item)
            reviewer = make.work_of(action.item).reviewer
            make.sign(action.item.campaign, reviewer)
        assert fresh(action.item).state == "certified"
        assert fresh(action.item.server).lifecycle == "active"
        assert (fresh(action).state, fresh(action).restored_by) == ("restored", reviewer)

    def test_only_a_suspension(self, silent):
        campaign = silent("low")
        sweep(campaign.due_at + MINUTE)
        with pytest.raises(Conflict, match="Only a suspension"):
            reviews.restore_action(
                actor=make.acting(make.person("security")), action=AutomaticAction.objects.get(), reason="x"
            )


TIERS = ("critical", "high", "medium", "low")


def what_happened(campaign: Campaign) -> dict[str, int]:
    rows = AutomaticAction.objects.filter(item__campaign=campaign)
    done = Counter(rows.filter(done_at__isnull=False).values_list("kind", flat=True))
    return {**{kind: done[kind] for kind in ("suspend", "lapse", "revoke")}, "held": rows.filter(state="held").count()}


def foreseen(campaign: Campaign, at: datetime) -> dict[str, int]:
    found = simulate(campaign, at)
    return {"suspend": found.suspend, "lapse": found.lapse, "revoke": found.revoke, "held": found.held}


class TestSimulation:
    def test_writes_nothing(self, silent, django_assert_num_queries):
        campaign = silent("high", "low")
        before = Event.objects.count()
        assert foreseen(campaign, campaign.due_at + timedelta(days=30)) == {
            "suspend": 1, "lapse": 1, "revoke": 0, "held": 0,
        }  # fmt: skip
        assert Event.objects.count() == before
        assert not AutomaticAction.objects.exists()

    def test_names_the_items(self, silent):
        campaign = silent("low")
        (each,) = simulate(campaign, campaign.due_at + MINUTE).items
        item = campaign.items.get()
        assert (each.item_id, each.label, each.kind, each.held) == (item.pk, item.label, "lapse", False)

    @pytest.mark.parametrize("seed", range(4))
    def test_at_every_jump_of_the_clock_the_sweep_does_what_was_foreseen(self, silent, lenient, seed):
        """Random jumps, some beyond several rungs at once; now and then somebody restores, declines or releases."""
        chance = random.Random(seed)  # noqa: S311
        campaign = silent(*chance.choices(TIERS, k=5))
        at = campaign.due_at
        guard = make.acting(make.person("security"))
        for _ in range(9):
            at += timedelta(minutes=chance.choice([7, 600, 2000, 5000, 12000, 40000]))
            with clock.at(at):
                campaign = fresh(campaign)
                before, expected = what_happened(campaign), foreseen(campaign, at)
                reviews.sweep_ladders(now=at)
                after = what_happened(campaign)
                assert {kind: after[kind] - before[kind] for kind in after} == expected, f"at {at}"
                held = list(AutomaticAction.objects.filter(state="held"))
                if held and chance.random() < 0.5:
                    act = chance.choice([reviews.release_actions, reviews.decline_actions])
                    act(actor=guard, actions=held[:1], reason="By chance.")

    @pytest.mark.parametrize("seed", range(3))
    def test_a_future_day_is_what_a_worker_that_never_sleeps_comes_to(self, silent, lenient, seed):
        chance = random.Random(100 + seed)  # noqa: S311
        campaign = silent(*chance.choices(TIERS, k=5))
        start = campaign.due_at - timedelta(days=1)
        until = start + timedelta(days=chance.randint(1, 45))
        with clock.at(start):
            expected = foreseen(campaign, until)
        at = start
        while at < until:
            at = min(at + timedelta(hours=12), until)
            sweep(at)
        assert what_happened(campaign) == expected


class TestPages:
    @pytest.fixture
    def held(self, silent, lenient):
        campaign = silent(*["high"] * 4)
        for days in (0, 7):
            sweep(campaign.due_at + timedelta(days=days, minutes=1))
        return campaign

    def test_release_from_the_page(self, held, web):
        guard = make.person("security")
        page = f"/reviews/{held.pk}/actions/"
        assert "2 wait for a second person" in web(guard).get(page).content.decode()
        empty = web(guard).post(page, {"verb": "release", "reason": "Fine."})
        assert empty.status_code == 422
        ids = [str(pk) for pk in AutomaticAction.objects.filter(state="held").values_list("pk", flat=True)]
        done = web(guard).post(page, {"verb": "release", "reason": "They left.", "action": ids}, follow=True)
        assert "2 actions are released" in done.content.decode()
        assert AutomaticAction.objects.filter(state="planned").count() == 2

    def test_the_owner_reads_why_somebody_else_decides(self, held, web):
        shown = web(held.owner).get(f"/reviews/{held.pk}/actions/").content.decode()
        assert "You own this campaign" in shown
        assert 'name="verb"' not in shown
        ids = [str(AutomaticAction.objects.filter(state="held").first().pk)]
        refused = web(held.owner).post(
            f"/reviews/{held.pk}/actions/", {"verb": "release", "reason": "x", "action": ids}
        )
        assert refused.status_code == 403

    def test_restore_from_the_page(self, held, web):
        action = AutomaticAction.objects.filter(state="done").first()
        guard = make.person("security")
        page = f"/reviews/actions/{action.pk}/restore/"
        assert web(make.person("reviewer")).get(page).status_code == 403
        assert web(guard).get(page).status_code == 200
        assert web(guard).post(page, {"reason": ""}).status_code == 422
        assert web(guard).post(page, {"reason": "Needed."}).status_code == 302
        assert fresh(action).state == "restored"

    def test_simulation_page(self, silent, web):
        campaign = silent("high", "low")
        reader = web(make.person())
        page = f"/reviews/{campaign.pk}/simulation/"
        assert "Nothing would happen" in reader.get(page).content.decode()
        day = (campaign.due_at + timedelta(days=8)).date()
        shown = reader.get(page, {"day": day.isoformat()}).content.decode()
        assert "suspend 1" in shown
        assert "let 1 lapse" in shown
        assert reader.get(page, {"day": "1999-01-01"}).status_code == 422

    def test_the_campaign_page_brings_it(self, held, web):
        reader = web(make.person())
        assert f"/reviews/{held.pk}/ladder/" in reader.get(f"/reviews/{held.pk}/").content.decode()
        part = reader.get(f"/reviews/{held.pk}/ladder/", headers={"hx-request": "true"}).content.decode()
        assert "2 automatic actions wait for a second person" in part
        assert "<html" not in part

    def test_the_number_of_queries_does_not_grow(self, silent, web, django_assert_max_num_queries):
        campaign = silent(*["low"] * 3)
        sweep(campaign.due_at + MINUTE)
        reader = web(make.person("security"))
        reader.get(f"/reviews/{campaign.pk}/actions/")
        with django_assert_max_num_queries(20):
            reader.get(f"/reviews/{campaign.pk}/actions/")

    def test_rest(self, held, api):
        guard = make.person("security")
        client = api(guard)
        listed = client.get("/api/v1/automatic-actions", {"state": "held", "campaign": str(held.pk)}).json()["results"]
        assert len(listed) == 2
        ids = [each["id"] for each in listed]
        assert api(make.person()).post(
            "/api/v1/automatic-actions/release", {"actions": ids, "reason": "x"}
        ).status_code == 403  # fmt: skip
        declined = client.post("/api/v1/automatic-actions/decline", {"actions": ids[:1], "reason": "Not these."})
        assert declined.json() == {"decided": 1}
        assert client.post(
            "/api/v1/automatic-actions/release", {"actions": ids, "reason": "x"}
        ).status_code == 409  # fmt: skip
        released = client.post("/api/v1/automatic-actions/release", {"actions": ids[1:], "reason": "Gone."})
        assert released.json() == {"decided": 1}
        done = AutomaticAction.objects.filter(state="done").first()
        answer = client.post(
            f"/api/v1/automatic-actions/{done.pk}/restore", {"reason": "Needed."}, headers={"if-match": done.etag}
        )
        assert answer.status_code == 200
        assert answer.json()["state"] == "restored"
        unknown = {"actions": [str(held.pk)], "reason": "x"}
        assert client.post("/api/v1/automatic-actions/release", unknown).status_code == 404

    def test_rest_simulation(self, silent, api):
        campaign = silent("low")
        client = api(make.person())
        day = (campaign.due_at + timedelta(days=1)).date()
        found = client.get(f"/api/v1/campaigns/{campaign.pk}/simulation", {"day": day.isoformat()}).json()
        assert (found["lapse"], found["held"], len(found["items"])) == (1, 0, 1)
        assert client.get(f"/api/v1/campaigns/{campaign.pk}/simulation", {"day": "soon"}).status_code == 422


@pytest.mark.worker
@pytest.mark.django_db(transaction=True)
def test_killed_at_random_points_no_action_is_lost_or_doubled(idle_worker):
    """A real worker that climbs, killed again and again: every item ends once, with one action and one event each."""
    reviewer = make.person("reviewer")
    make.person("reviewer")
    server = make.active_server()
    grants = make.many_grants(server, 40)
    of_tier(server, "low")
    campaign = make.campaign(reviewer, kinds=["grant"])
    items = campaign.items.count()
    assert items == len(grants)
    past = clock.now() - timedelta(hours=2)
    campaign.items.update(due_at=past)
    chance, kills = random.Random(11), 0  # noqa: S311
    guard = make.acting(make.person("security"))
    while kills < 4:
        idle_worker.start()
        tasks.climb_ladders.delay()
        held = list(AutomaticAction.objects.filter(state="held")[:15])
        if held:
            reviews.release_actions(actor=guard, actions=held, reason="They are gone.")
        time.sleep(chance.uniform(0.1, 0.8))
        idle_worker.kill()
        kills += 1
    idle_worker.start()

    def settled():
        held = list(AutomaticAction.objects.filter(state="held"))
        if held:
            reviews.release_actions(actor=guard, actions=held, reason="They are gone.")
        tasks.climb_ladders.delay()
        time.sleep(0.5)
        return not campaign.items.exclude(state="lapsed").exists()

    idle_worker.wait_for(settled, "every item to end", within=90)
    assert Counter(AutomaticAction.objects.values_list("item", "kind", "state")) == {
        (pk, "lapse", "done"): 1 for pk in campaign.items.values_list("pk", flat=True)
    }
    for act in ("automatic_action.done", "item.lapsed"):
        told = Counter(Event.objects.filter(act=act).values_list("subject_id", flat=True))
        assert set(told.values()) == {1}, act
        assert len(told) == items
    assert fresh(campaign).state == "sign_off"
