"""A campaign and its items from stage to stage: who decides, what several answers come to, and how it ends."""

from datetime import timedelta

import pgtrigger
import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse

from registry.accounts import services as accounts
from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.catalog.models import Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, IllegalTransition, Invalid, NotAllowed, NotIndependent, SecretRefused
from registry.reviews import services as reviews
from registry.reviews.facts import evidence_of
from registry.reviews.gate import without_reviewer
from registry.reviews.models import Campaign, Certificate, Decision, Item, SignOff, WorkItem, WorkItemMove
from registry.reviews.services import stages
from registry.reviews.states import CAMPAIGN, CampaignState
from registry.trust import services as trust
from tests import factories as make

pytestmark = pytest.mark.django_db
CLOCK = Actor.system("a test's clock")


@pytest.fixture
def ann():
    return make.person("reviewer", name="Ann")


@pytest.fixture
def ben():
    return make.person("reviewer", name="Ben")


@pytest.fixture
def cleo():
    return make.person("reviewer", name="Cleo")


@pytest.fixture
def server():
    return make.active_server()


def campaign_of(server, *stages_, **facts):
    """An active campaign about one server (or its grants, with `kinds`) with these stages."""
    made = make.campaign(**{"kinds": ["server"], "scope": {"q": server.name}, "stages": list(stages_)} | facts)
    assert made.state == "active", made.state_reason
    return made


def held_by(item, reviewer) -> WorkItem:
    return WorkItem.objects.get(item=item, reviewer=reviewer)


def answer(item, reviewer, value="certify", **facts) -> Decision:
    """This reviewer's draft; several people may hold the item."""
    work_item, fresh = held_by(item, reviewer), Item.objects.get(pk=item.pk)
    reviews.note_opened(actor=make.acting(reviewer), work_item=work_item)
    values = {"reason": "Looked at everything.", "evidence_hash": fresh.seen.evidence_hash} | facts
    return reviews.save_decision(actor=make.acting(reviewer), work_item=work_item, value=value, **values)


def signed(item, reviewer, value="certify", **facts) -> Item:
    answer(item, reviewer, value, **facts)
    make.sign(item.campaign, reviewer)
    return Item.objects.get(pk=item.pk)


def change_facts(server) -> None:
    catalog.set_tools(
        actor=make.acting(server.owner),
        server=server,
        tools=[{"name": "query", "description": "Runs anything.", "confirmed_class": "execute"}],
    )
    reviews.sweep_items()


class TestSeveralReviewers:
    def two(self, server, *people, strategy="one_deny_denies", **facts):
        stage = {"reviewers": people, "reviewers_per_item": 2, "strategy": strategy}
        return campaign_of(server, stage, **facts).items.get()

    def test_both_are_heard_before_anything_is_kept(self, server, ann, ben):
        item = self.two(server, ann, ben)
        item = signed(item, ann)
        assert (item.state, Certificate.objects.count()) == ("in_review", 0)
        item = signed(item, ben, "certify_until", until=clock.today() + timedelta(days=9))
        server.refresh_from_db()
        assert (item.state, item.outcome) == ("certified_until", "certify_until")
        assert server.certified_until.date() == clock.today() + timedelta(days=9)

    def test_one_denial_denies_also_the_first(self, server, ann, ben):
        item = self.two(server, ann, ben)
        answer(item, ben)
        item = signed(item, ann, "revoke")
        server.refresh_from_db()
        assert (item.state, server.lifecycle) == ("revoked", "suspended")
        assert held_by(item, ben).state == "closed"
        assert not Decision.objects.filter(signed_at=None).exists(), "Ben's draft is let go with his share"

    def test_one_denial_denies_also_the_last(self, server, ann, ben):
        item = signed(signed(self.two(server, ann, ben), ann), ben, "revoke")
        assert item.state == "revoked"
        assert not Certificate.objects.filter(ended_at=None).exists()

    def test_the_first_valid_answer_decides_where_that_is_the_rule(self, server, ann, ben, cleo):
        item = self.two(server, ann, ben, strategy="first_valid_decides")
        item = signed(item, ann, "not_decided", reason="Cleo would know.")
        assert item.state == "in_review", "not to know is no answer"
        item = signed(item, ben)
        assert item.state == "certified"
        assert not WorkItem.objects.exclude(state="closed").exists()

    def test_all_must_certify_asks_somebody_else_in_place_of_who_did_not(self, server, ann, ben, cleo):
        people = (ann, ben, cleo)
        item = self.two(server, *people, strategy="all_must_certify")
        first, second = [row.reviewer for row in item.work_items.order_by("pk")]
        (third,) = set(people) - {first, second}
        item = signed(item, first)
        item = signed(item, second, "not_decided", reason="Ask finance.")
        assert (item.state, held_by(item, third).state) == ("in_review", "open")
        item = signed(item, third)
        assert item.state == "certified"

    def test_not_sure_beside_a_certify_is_enough_where_one_denial_denies(self, server, ann, ben):
        item = signed(signed(self.two(server, ann, ben), ann, "not_decided", reason="?"), ben)
        assert item.state == "certified"

    def test_reductions_keep_what_all_of_them_keep(self, ann, ben):
        server = make.active_server(
            tools=[{"name": name, "description": name, "confirmed_class": "read"} for name in "abc"]
        )
        grant = make.grant(server=server, tools=["a", "b", "c"])
        item = self.two(server, ann, ben, kinds=["grant"])
        signed(item, ann, "certify_reduced", kept=["a", "b"])
        item = signed(item, ben, "certify_reduced", kept=["b", "c"])
        grant.refresh_from_db()
        assert (item.state, grant.superseded_by.tools) == ("certified_reduced", ["b"])

    def test_reductions_with_nothing_in_common_are_a_revocation(self, server, ann, ben):
        grant = make.grant(server=server, tools=["query", "export"])
        item = self.two(server, ann, ben, kinds=["grant"])
        signed(item, ann, "certify_reduced", kept=["query"])
        item = signed(item, ben, "certify_reduced", kept=["export"])
        grant.refresh_from_db()
        assert (item.state, grant.status) == ("revoked", "revoked")

    def test_whoever_certified_other_facts_has_not_certified_these(self, server, ann, ben, cleo):
        people = (ann, ben, cleo)
        item = self.two(server, *people, strategy="all_must_certify")
        first, second = [row.reviewer for row in item.work_items.order_by("pk")]
        signed(item, first)
        change_facts(server)
        reviews.confirm_facts(
            actor=make.acting(second),
            work_item=held_by(item, second),
            evidence_hash=evidence_of(server).evidence_hash,
        )
        item = signed(item, second)
        (third,) = set(people) - {first, second}
        assert (item.state, held_by(item, third).state) == ("in_review", "open")

    def test_the_time_is_over_and_one_has_certified(self, server, ann, ben):
        item = signed(self.two(server, ann, ben), ann)
        assert reviews.settle_unanswered(CLOCK, item) is True
        item.refresh_from_db()
        assert (item.state, item.campaign.items.get().work_items.exclude(state="closed").count()) == ("certified", 0)
        assert Campaign.objects.get().state == "sign_off"

    def test_the_time_is_over_and_all_should_have_certified(self, server, ann, ben):
        item = signed(self.two(server, ann, ben, strategy="all_must_certify"), ann)
        assert reviews.settle_unanswered(CLOCK, item) is False
        item.refresh_from_db()
        assert (item.state, held_by(item, ben).state) == ("in_review", "open")

    def test_the_time_is_over_and_nobody_said_anything(self, server, ann, ben):
        assert reviews.settle_unanswered(CLOCK, self.two(server, ann, ben)) is False

    def test_only_the_clock_and_managers_say_that_the_time_is_over(self, server, ann, ben):
        item = signed(self.two(server, ann, ben), ann)
        with pytest.raises(NotAllowed):
            reviews.settle_unanswered(make.acting(ann), item)


class TestTwoSides:
    def test_consumer_and_provider_decide_in_the_same_stage_and_a_side_is_kept_when_somebody_steps_back(self):
        lead, other = make.person("reviewer", name="Lead"), make.person("reviewer", name="Other")
        system = make.system(owner=make.person("reviewer", name="System owner"))
        server = make.active_server()
        make.connection(server=server, system=system)
        agent = make.agent(team=make.team(lead, lead=lead))
        make.grant(server=server, agent=agent)
        stage = {
            "reviewer_rule": "both_sides",
            "fallback": ["pool"],
            "reviewers": [other],
            "strategy": "all_must_certify",
        }
        item = campaign_of(server, stage, kinds=["grant"]).items.get()
        assert {row.side: row.reviewer for row in item.work_items.all()} == {"consumer": lead, "provider": system.owner}
        reviews.recuse_work_item(
            actor=make.acting(lead), work_item=held_by(item, lead), reason="I also sell what it buys."
        )
        assert held_by(item, other).side == "consumer"
        signed(item, other)
        item = signed(item, system.owner, "revoke")
        assert item.state == "revoked"


class TestFromStageToStage:
    @pytest.fixture
    def two_stages(self, server, ann, ben):
        return campaign_of(
            server,
            {"reviewers": [ann], "duration_days": 5, "strategy": "one_deny_denies"},
            {"reviewers": [ben], "duration_days": 9, "strategy": "one_deny_denies"},
        )

    def test_the_last_signature_opens_the_next_stage_without_waiting_for_the_clock(self, two_stages, server, ann, ben):
        item = signed(two_stages.items.get(), ann)
        two_stages.refresh_from_db()
        deadline = (clock.today() + timedelta(days=9)).isoformat()
        assert (two_stages.state, two_stages.stage, str(two_stages.due_at.date())) == ("active", 2, deadline)
        assert (item.state, item.stage, item.due_at) == ("in_review", 2, two_stages.due_at)
        assert (held_by(item, ben).stage, held_by(item, ben).state) == (2, "open")
        server.refresh_from_db()
        assert server.certified_until is None, "only the last stage certifies"
        item = signed(item, ben)
        server.refresh_from_db()
        two_stages.refresh_from_db()
        assert (item.state, two_stages.state) == ("certified", "sign_off")
        assert server.certified_until is not None
        assert sorted(SignOff.objects.values_list("stage", "reviewer__name")) == [(1, "Ann"), (2, "Ben")]
        assert Event.objects.filter(act="campaign.stage_opened", subject_id=two_stages.pk).exists()

    def test_not_before_everything_of_a_stage_is_signed(self, server, ann, ben):
        make.grant(server=server)
        campaign = campaign_of(server, {"reviewers": [ann]}, {"reviewers": [ben]}, kinds=["server", "grant"])
        items = {item.kind: item for item in campaign.items.all()}
        answer(items["grant"], ann)
        signed(items["server"], ann)  # signs both
        campaign.refresh_from_db()
        assert campaign.stage == 2
        item = signed(items["server"], ben)
        assert item.state == "certified"
        campaign.refresh_from_db()
        assert campaign.state == "active"

    def test_one_item_left_holds_the_stage(self, server, ann, ben):
        make.grant(server=server)
        campaign = campaign_of(server, {"reviewers": [ann]}, {"reviewers": [ben]}, kinds=["server", "grant"])
        item = signed(campaign.items.get(kind="server"), ann)
        campaign.refresh_from_db()
        assert (campaign.stage, item.stage, item.state) == (1, 1, "decided")
        with pytest.raises(Conflict):
            reviews.undo_decision(actor=make.acting(ann), work_item=held_by(item, ann))

    def test_an_item_that_vanished_holds_nothing(self, server, ann, ben):
        grant = make.grant(server=server)
        campaign = campaign_of(server, {"reviewers": [ann]}, {"reviewers": [ben]}, kinds=["server", "grant"])
        signed(campaign.items.get(kind="server"), ann)
        trust.revoke_relationship(actor=make.acting(make.person("security")), relationship=grant, reason="Gone")
        reviews.recheck(kind="grant", id=grant.pk)
        reviews.settle_campaigns()
        campaign.refresh_from_db()
        assert campaign.stage == 2
        assert campaign.items.get(kind="grant").state == "obsolete"

    def test_a_revocation_is_final_in_the_stage_it_is_signed_in(self, two_stages, server, ann, ben):
        item = signed(two_stages.items.get(), ann, "revoke")
        server.refresh_from_db()
        two_stages.refresh_from_db()
        assert (item.state, server.lifecycle, two_stages.state) == ("revoked", "suspended", "sign_off")
        assert not WorkItem.objects.filter(reviewer=ben).exists()

    def test_the_most_cautious_of_all_stages_wins(self, ann, ben):
        server = make.active_server(
            tools=[{"name": name, "description": name, "confirmed_class": "read"} for name in "abc"]
        )
        grant = make.grant(server=server, tools=["a", "b", "c"])
        campaign = campaign_of(server, {"reviewers": [ann]}, {"reviewers": [ben]}, kinds=["grant"])
        item = signed(campaign.items.get(), ann, "certify_reduced", kept=["a", "b"])
        grant.refresh_from_db()
        assert grant.status == "active", "nothing is taken away before the last stage has spoken"
        until = clock.today() + timedelta(days=8)
        item = signed(item, ben, "certify_until", until=until)
        grant.refresh_from_db()
        narrower = grant.superseded_by
        assert (item.state, item.outcome, narrower.tools) == ("certified_reduced", "certify_reduced", ["a", "b"])
        assert narrower.certified_until.date() == until

    def test_a_reduction_of_what_shrank_meanwhile_takes_nothing_more_away(self, ann, ben):
        server = make.active_server(
            tools=[{"name": name, "description": name, "confirmed_class": "read"} for name in "ab"]
        )
        grant = make.grant(server=server, all_tools=True)
        campaign = campaign_of(server, {"reviewers": [ann]}, {"reviewers": [ben]}, kinds=["grant"])
        item = signed(campaign.items.get(), ann, "certify_reduced", kept=["a"])
        catalog.set_tools(
            actor=make.acting(server.owner),
            server=server,
            tools=[{"name": "b", "description": "b", "confirmed_class": "read"}],
        )
        reviews.sweep_items()
        item.refresh_from_db()
        assert item.state == "invalidated"
        reviews.confirm_facts(
            actor=make.acting(ben), work_item=held_by(item, ben), evidence_hash=evidence_of(grant).evidence_hash
        )
        item = signed(item, ben)
        grant.refresh_from_db()
        assert (item.state, grant.status) == ("revoked", "revoked"), "what was kept is no longer there"

    def test_facts_that_move_between_stages_are_confirmed_in_the_next(self, server, ann, ben):
        make.grant(server=server)
        campaign = campaign_of(server, {"reviewers": [ann]}, {"reviewers": [ben]}, kinds=["server", "grant"])
        item = signed(campaign.items.get(kind="server"), ann)
        change_facts(server)
        item.refresh_from_db()
        assert (item.state, item.stage) == ("invalidated", 1)
        grant_item = campaign.items.get(kind="grant")
        reviews.confirm_facts(
            actor=make.acting(ann),
            work_item=held_by(grant_item, ann),
            evidence_hash=evidence_of(grant_item.subject).evidence_hash,
        )
        signed(grant_item, ann)
        item.refresh_from_db()
        assert (item.state, item.stage) == ("invalidated", 2)
        reviews.confirm_facts(
            actor=make.acting(ben), work_item=held_by(item, ben), evidence_hash=evidence_of(server).evidence_hash
        )
        assert signed(item, ben).state == "certified"

    def test_nobody_left_for_the_next_stage_is_the_campaign_owners_to_solve(
        self, server, ann, mailoutbox, django_capture_on_commit_callbacks
    ):
        campaign = campaign_of(server, {"reviewers": [ann]}, {"reviewers": [ann]})
        item = signed(campaign.items.get(), ann)
        campaign.refresh_from_db()
        assert (campaign.stage, item.stage, item.state) == (2, 2, "escalated")
        assert list(without_reviewer(campaign)) == [item]
        owner = make.acting(campaign.owner)
        with pytest.raises(Conflict):
            reviews.assign_reviewer(actor=owner, item=item, to=ann)
        newcomer = make.person("reviewer")
        reviews.assign_reviewer(actor=owner, item=item, to=newcomer, note="New here.")
        assert (held_by(item, newcomer).stage, signed(item, newcomer).state) == (2, "certified")

    def test_a_signed_decision_stays_its_authors_in_every_stage(self, two_stages, ann, ben):
        item = signed(two_stages.items.get(), ann)
        with pytest.raises(Conflict):
            answer(item, ann, "revoke")
        with pytest.raises(NotAllowed):
            reviews.save_decision(
                actor=make.acting(ann), work_item=held_by(item, ben), value="revoke", evidence_hash=item.evidence_hash
            )


class TestManyItems:
    @pytest.fixture
    def many(self, ann, ben, cleo, monkeypatch):
        server = make.active_server()
        for _ in range(4):
            make.grant(server=server)
        monkeypatch.setattr(stages, "AT_ONCE", 2)
        monkeypatch.setattr(stages, "CHUNK", 2)
        three = [{"reviewers": [person]} for person in (ann, ben, cleo)]
        campaign = campaign_of(server, *three, kinds=["server", "grant"])
        for item in campaign.items.all():
            answer(item, ann)
        make.sign(campaign, ann)
        campaign.refresh_from_db()
        return campaign

    def test_they_follow_in_the_background_and_nothing_is_finished_meanwhile(self, many, ann, ben):
        assert (many.stage, many.items.filter(stage=1).count()) == (2, 5)
        assert reviews.settle_campaigns() == 0, "a stage that is still filling is not over"
        many.refresh_from_db()
        assert (many.state, many.stage) == ("active", 2)
        assert reviews.open_stage(campaign_id=many.pk) == 5
        assert reviews.open_stage(campaign_id=many.pk) == 0
        assert set(many.items.values_list("stage", "state")) == {(2, "in_review")}
        assert WorkItem.objects.filter(reviewer=ben, stage=2).count() == 5

    def test_a_worker_that_dies_loses_and_doubles_nothing(self, many, ben, monkeypatch):
        def power_cut(*_, **__):
            raise RuntimeError("power cut")

        follow, calls = stages._follow, []

        def one_then_power_cut(actor, campaign):
            calls.append(1)
            return follow(actor, campaign) if len(calls) == 1 else power_cut()

        monkeypatch.setattr(stages, "_follow", one_then_power_cut)
        with pytest.raises(RuntimeError):
            reviews.open_stage(campaign_id=many.pk)
        monkeypatch.setattr(stages, "_follow", follow)
        assert many.items.filter(stage=2).count() == 2
        later = clock.now() + timedelta(minutes=1)
        assert reviews.resume_stages(now=clock.now()) == [], "somebody may be at it"
        assert reviews.resume_stages(now=later) == [many.pk]
        assert reviews.open_stage(campaign_id=many.pk) == 3
        assert WorkItem.objects.filter(reviewer=ben).values("item").distinct().count() == 5
        assert reviews.resume_stages(now=later) == []

    def test_a_cancelled_campaign_follows_nowhere(self, many):
        reviews.cancel_campaign(actor=make.acting(many.owner), campaign=many, reason="Wrong scope")
        assert reviews.open_stage(campaign_id=many.pk) == 0
        assert not WorkItem.objects.filter(stage=2).exists()


class TestDistinctDeciders:
    """Invariant 4."""

    @pytest.fixture
    def in_stage_two(self, server, ann, ben):
        campaign = campaign_of(server, {"reviewers": [ann]}, {"reviewers": [ann, ben]})
        return signed(campaign.items.get(), ann)

    def test_the_same_pool_gives_another_person(self, in_stage_two, ben):
        assert make.work_of(in_stage_two).reviewer == ben

    def test_who_decided_an_earlier_stage_cannot_get_it_by_any_way(self, in_stage_two, ann, ben, cleo):
        held, owner = held_by(in_stage_two, ben), make.acting(in_stage_two.campaign.owner)
        for actor in (make.acting(ben), owner):
            with pytest.raises(Conflict, match="had this item already"):
                reviews.reassign_work_item(actor=actor, work_item=held, to=ann, note="You again")
        reviews.create_delegation(
            actor=make.acting(ben), delegator=ben, delegate=ann, starts_on=clock.today(), ends_on=clock.today()
        )
        assert make.work_of(in_stage_two).reviewer == ben
        assert reviews.escalate(CLOCK, held, because="no answer") is None
        in_stage_two.refresh_from_db()
        assert in_stage_two.state == "escalated"
        with pytest.raises(Conflict, match="had this item already"):
            reviews.assign_reviewer(actor=owner, item=in_stage_two, to=ann)
        with pytest.raises(Conflict, match="had this item already"):
            reviews.assign_reviewer(actor=owner, item=in_stage_two, to=ben)
        assert reviews.assign_reviewer(actor=owner, item=in_stage_two, to=cleo).reviewer == cleo

    def test_the_database_refuses_it_whatever_the_code_does(self, in_stage_two, ann, ben):
        held = held_by(in_stage_two, ben)
        with pytest.raises(IntegrityError), transaction.atomic():
            WorkItem.objects.filter(pk=held.pk).update(reviewer=ann)
        with pytest.raises(IntegrityError), transaction.atomic():
            WorkItem.objects.create(
                item=in_stage_two, stage=3, reviewer=ann, original_reviewer=ann, chosen_because="Bug"
            )


class TestInOtherHands:
    def test_escalating_asks_the_next_and_keeps_the_story(self, server, ann, ben):
        item = campaign_of(server, {"reviewers": [ann, ben]}).items.get()
        first = make.work_of(item)
        answer(item, first.reviewer)
        made = reviews.escalate(CLOCK, first, because="The deadline passed.")
        item.refresh_from_db()
        first.refresh_from_db()
        assert (item.state, first.state, made.state) == ("in_review", "closed", "open")
        assert made.reviewer != first.reviewer
        assert not Decision.objects.exists(), "an unsigned draft is nobody's answer"
        move = WorkItemMove.objects.get()
        assert (move.kind, move.work_item, move.to_reviewer, move.by) == ("escalated", first, made.reviewer, None)
        with pytest.raises(Conflict):
            reviews.escalate(CLOCK, first, because="Twice")
        with pytest.raises(NotAllowed):
            reviews.escalate(make.acting(ben), made, because="Not mine")

    def test_with_others_still_to_answer_nobody_left_stops_nothing(self, server, ann, ben):
        stage = {"reviewers": [ann, ben], "reviewers_per_item": 2, "strategy": "one_deny_denies"}
        item = campaign_of(server, stage).items.get()
        assert reviews.escalate(CLOCK, held_by(item, ann), because="no answer") is None
        item.refresh_from_db()
        assert item.state == "in_review"
        assert signed(item, ben).state == "certified"

    def test_somebody_found_later_fills_the_same_place(self, server, ann, ben, cleo):
        stage = {"reviewers": [ann, ben], "reviewers_per_item": 2, "strategy": "all_must_certify"}
        item = campaign_of(server, stage).items.get()
        reviews.escalate(CLOCK, held_by(item, ann), because="no answer")
        item = signed(item, ben)
        assert item.state == "escalated", "all must certify, and Ann's place is empty"
        assert reviews.retry_assignment(actor=make.acting(item.campaign.owner), campaign=item.campaign) == 0
        item.campaign.template.first_stage.reviewers.add(cleo)
        assert reviews.retry_assignment(actor=make.acting(item.campaign.owner), campaign=item.campaign) == 1
        assert signed(item, cleo).state == "certified"

    def test_what_the_target_of_a_hand_over_must_be(self, server, ann):
        item = campaign_of(server, {"reviewers": [ann]}).items.get()
        hand = {"actor": make.acting(item.campaign.owner), "work_item": make.work_of(item), "note": "Please"}
        for somebody, refusal in (
            (make.person("reviewer", active=False), Invalid),
            (make.person(), Invalid),
            (make.person("campaign_manager"), Invalid),
            (ann, Conflict),
        ):
            with pytest.raises(refusal):
                reviews.reassign_work_item(to=somebody, **hand)
        with pytest.raises(Invalid):
            reviews.reassign_work_item(**{**hand, "to": make.person("reviewer"), "note": " "})
        with pytest.raises(SecretRefused):
            reviews.reassign_work_item(**{**hand, "to": make.person("reviewer"), "note": "password=hunter2hunter2"})
        to = make.person("security")
        moved = reviews.reassign_work_item(to=to, **hand)
        assert (moved.reviewer, moved.original_reviewer, moved.first_shown_at) == (to, ann, None)


class TestIndependenceIsAskedAgain:
    """Invariant 3, with ownership that changes in between."""

    @pytest.fixture
    def item(self, server, ann, ben):
        # `submitted_by` is a stake that is no fact: nothing but the guards notices the change.
        return campaign_of(server, {"reviewers": [ann, ben], "strategy": "one_deny_denies"}).items.get()

    def give_stake(self, item, user) -> None:
        Server.objects.filter(pk=item.server_id).update(submitted_by=user)

    def others(self, item, *people):
        return next(person for person in people if person != make.work_of(item).reviewer)

    def test_at_assignment(self, item, ann, ben):
        held = make.work_of(item)
        self.give_stake(item, self.others(item, ann, ben))
        assert reviews.escalate(CLOCK, held, because="no answer") is None
        item.refresh_from_db()
        with pytest.raises(NotIndependent):
            reviews.assign_reviewer(
                actor=make.acting(item.campaign.owner), item=item, to=ann if held.reviewer == ben else ben
            )

    def test_at_hand_over(self, item, ann, ben):
        held, other = make.work_of(item), self.others(item, ann, ben)
        self.give_stake(item, other)
        with pytest.raises(NotIndependent, match="submitted the server"):
            reviews.reassign_work_item(actor=make.acting(held.reviewer), work_item=held, to=other, note="You")
        reviews.recuse_work_item(actor=make.acting(held.reviewer), work_item=held, reason="My cousin's.")
        item.refresh_from_db()
        assert item.state == "escalated", "the only other reviewer is not independent any more"

    def test_at_the_decision(self, item, ann, ben):
        held = make.work_of(item)
        self.give_stake(item, held.reviewer)
        with pytest.raises(NotIndependent, match="submitted the server"):
            answer(item, held.reviewer)

    def test_at_the_signature(self, item, ann, ben):
        held = make.work_of(item)
        answer(item, held.reviewer)
        self.give_stake(item, held.reviewer)
        with pytest.raises(NotIndependent, match="submitted the server"):
            make.sign(item.campaign, held.reviewer)
        assert not SignOff.objects.exists()

    def test_the_signature_names_all_one_has_to_step_back_from(self, ann):
        """At once, so that nobody signs, steps back, signs and is refused again; what is free is not signed alone."""
        servers = [make.active_server() for _ in range(3)]
        campaign = make.campaign(ann, kinds=["server"])
        items = {item.server_id: item for item in campaign.items.all()}
        for item in items.values():
            answer(item, ann)
        for server in servers[:2]:
            self.give_stake(items[server.pk], ann)
        with pytest.raises(NotIndependent, match="Step back") as refused:
            make.sign(campaign, ann)
        for server, named in zip(servers, (True, True, False), strict=True):
            assert (items[server.pk].label in refused.value.message) == named
        assert not SignOff.objects.exists()


class TestPowersWithoutDecisions:
    """Invariant 16."""

    def test_the_campaigns_owner_is_never_asked(self, server, ann):
        owner = make.person("campaign_manager", "reviewer")
        campaign = make.campaign(owner, ann, owner=owner, kinds=["server"], scope={"q": server.name})
        item = campaign.items.get()
        assert make.work_of(item).reviewer == ann
        with pytest.raises(NotIndependent, match="owns this campaign"):
            reviews.reassign_work_item(actor=make.acting(ann), work_item=make.work_of(item), to=owner, note="You")

    def test_whoever_becomes_its_owner_decides_and_signs_no_more(self, server, ann):
        campaign = campaign_of(server, {"reviewers": [ann]})
        item = campaign.items.get()
        answer(item, ann)
        Campaign.objects.filter(pk=campaign.pk).update(owner=ann)
        with pytest.raises(NotIndependent, match="owns this campaign"):
            make.sign(campaign, ann)
        with pytest.raises(NotIndependent, match="owns this campaign"):
            answer(item, ann, "revoke")

    def test_no_role_includes_deciding(self, server, ann):
        item = campaign_of(server, {"reviewers": [ann]}).items.get()
        for role in ("campaign_manager", "administrator", "security", "auditor", "reviewer"):
            with pytest.raises(NotAllowed):
                reviews.save_decision(
                    actor=make.acting(make.person(role)),
                    work_item=make.work_of(item),
                    value="certify",
                    evidence_hash=item.evidence_hash,
                )


class TestLife:
    ACCEPT = {"statement": "I rely on it.", "auth_method": "password"}

    @pytest.fixture
    def completed(self, server, ann):
        campaign = campaign_of(server, {"reviewers": [ann]})
        signed(campaign.items.get(), ann)
        reviews.close_campaign(
            actor=make.acting(campaign.owner), campaign=campaign, statement="Complete.", auth_method="password"
        )
        campaign.refresh_from_db()
        return campaign

    def test_an_auditor_accepts_what_is_completed(self, completed):
        assert completed.state == "completed"
        auditor = make.person("auditor")
        reviews.accept_campaign(actor=make.acting(auditor), campaign=completed, **self.ACCEPT)
        completed.refresh_from_db()
        assert completed.state == "accepted"
        signature = completed.sign_offs.get(kind="auditor")
        assert (signature.reviewer, signature.decision_count) == (auditor, 1)
        with pytest.raises(IllegalTransition):
            reviews.accept_campaign(actor=make.acting(auditor), campaign=completed, **self.ACCEPT)

    def test_only_an_auditor_who_had_no_part_in_it(self, completed, ann):
        for somebody in (ann, completed.owner, make.person("administrator"), make.person("security")):
            with pytest.raises(NotAllowed):
                reviews.accept_campaign(actor=make.acting(somebody), campaign=completed, **self.ACCEPT)
        for somebody, part in ((ann, "decided in it and signed in it"), (completed.owner, "owns it and signed in it")):
            somebody.roles = [*somebody.roles, "auditor"]
            somebody.save()
            with pytest.raises(NotIndependent, match=part):
                reviews.accept_campaign(actor=make.acting(somebody), campaign=completed, **self.ACCEPT)
        with pytest.raises(Invalid):
            reviews.accept_campaign(
                actor=make.acting(make.person("auditor")), campaign=completed, statement=" ", auth_method="password"
            )

    def test_nothing_is_accepted_before_it_is_completed(self, server, ann):
        campaign = campaign_of(server, {"reviewers": [ann]})
        with pytest.raises(IllegalTransition):
            reviews.accept_campaign(actor=make.acting(make.person("auditor")), campaign=campaign, **self.ACCEPT)

    @pytest.mark.parametrize("state", CampaignState)
    def test_cancelling_is_for_what_is_unfinished_and_keeps_everything(self, server, ann, state):
        campaign = campaign_of(server, {"reviewers": [ann]})
        item = campaign.items.get()
        answer(item, ann)
        with pgtrigger.ignore("reviews.Campaign:completed_is_settled"):
            Campaign.objects.filter(pk=campaign.pk).update(state=state)
        cancel = {"actor": make.acting(campaign.owner), "campaign": campaign}
        unfinished = CampaignState.CANCELLED in CAMPAIGN.moves.get(state, ())
        assert unfinished == (not state.startswith(("completed", "accepted", "cancelled")))
        if not unfinished:
            with pytest.raises(IllegalTransition):
                reviews.cancel_campaign(reason="Too late", **cancel)
            return
        with pytest.raises(Invalid):
            reviews.cancel_campaign(reason=" ", **cancel)
        reviews.cancel_campaign(reason="Wrong scope", **cancel)
        item.refresh_from_db()
        assert (item.state, item.work_items.get().state, campaign.population.count()) == ("cancelled", "closed", 1)

    def test_a_micro_certification_completes_without_anybodys_signature_but_the_reviewers(self, server, ann):
        campaign = reviews.launch_subjects(
            actor=CLOCK, kind=Campaign.Kind.MICRO, name="Changed", period="2026-11-22",
            subjects=[("server", server.pk)], template=None,
        )  # fmt: skip
        reviews.generate_items(campaign_id=campaign.pk)
        item = campaign.items.get()
        signed(item, make.work_of(item).reviewer)
        campaign.refresh_from_db()
        assert (campaign.state, campaign.sign_offs.count()) == ("completed", 1)
        mover = Event.objects.get(act="campaign.remediating", subject_id=campaign.pk)
        assert mover.actor_kind == "system", "no person is said to have signed the whole"

    def test_a_micro_certification_that_takes_away_waits_for_its_verification(self, server, ann):
        campaign = reviews.launch_subjects(
            actor=CLOCK, kind=Campaign.Kind.MICRO, name="Changed", period="2026-11-22",
            subjects=[("server", server.pk)], template=None,
        )  # fmt: skip
        reviews.generate_items(campaign_id=campaign.pk)
        item = campaign.items.get()
        signed(item, make.work_of(item).reviewer, "revoke")
        campaign.refresh_from_db()
        assert campaign.state == "remediating"


class TestHistoryOutlivesEverything:
    """Invariant 19."""

    def test_retired_servers_and_people_who_left_keep_their_certification_history(self, server, ann, web):
        from registry.reviews.desk import past_decisions

        campaign = campaign_of(server, {"reviewers": [ann]})
        item = signed(campaign.items.get(), ann)
        administrator = make.acting(make.person("administrator"))
        accounts.set_active(actor=administrator, user=ann, active=False)
        catalog.retire_server(actor=make.acting(server.owner), server=server, reason="Replaced")
        reviews.end_stale_certificates()
        item.refresh_from_db()
        decision = Decision.objects.select_related("work_item__reviewer").get()
        assert (item.state, item.evidence["facts"]["name"]) == ("certified", server.name)
        assert (decision.work_item.reviewer.name, decision.sign_off.reviewer.name) == ("Ann", "Ann")
        certificate = Certificate.objects.get(server=server)
        assert certificate.ended_because == "What it certified is no longer in place."
        for model, pk in ((Item, item.pk), (Certificate, certificate.pk), (Campaign, campaign.pk)):
            assert model.objects.visible_to(make.acting(make.person("auditor"))).filter(pk=pk).exists()
        later = Item(campaign=campaign, kind="server", server=server)
        assert past_decisions(later), "whoever reviews its successor in the same place still reads them"
        page = web(make.person("auditor")).get(reverse("reviews:campaign", args=[campaign.pk]))
        assert page.status_code == 200
