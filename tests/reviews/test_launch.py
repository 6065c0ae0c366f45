"""Launching: population, items, exclusions, the gate, resumption, due templates."""

from datetime import timedelta

import pytest
from django.db import connection

from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, IllegalTransition, Invalid, NotAllowed, NotSignedIn
from registry.reviews import services as reviews
from registry.reviews.gate import gate
from registry.reviews.models import Campaign, Item, PopulationEntry, Template, WorkItem
from registry.reviews.services import AlreadyLaunched, generation
from registry.trust import services as trust
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer():
    return make.person("reviewer")


class TestTemplates:
    def test_only_campaign_managers_and_administrators_write_them(self):
        for person in (make.person(), make.person("reviewer"), make.person("security"), make.outsider()):
            with pytest.raises(NotAllowed):
                reviews.create_template(actor=make.acting(person), name="X", kinds=["server"])
        with pytest.raises(NotSignedIn):
            reviews.create_template(actor=Actor.anonymous(), name="X", kinds=["server"])
        assert reviews.create_template(actor=make.acting(make.person("administrator")), name="X", kinds=["server"])

    @pytest.mark.parametrize(
        ("facts", "field"),
        [
            ({"name": " "}, "name"),
            ({"kinds": []}, "kinds"),
            ({"kinds": ["planet"]}, "kinds"),
            ({"scope": {"colour": ["red"]}}, "scope"),
            ({"scope": {"tier": ["huge"]}}, "scope.tier"),
            ({"scope": {"team": ["nobody"]}}, "scope.team"),
            ({"reviewer_rule": "dice"}, "stages.1.reviewer_rule"),
            ({"cadence_days": 1}, "cadence_days"),
            ({"cadence_days": 30, "duration_days": 60}, "stages.1.duration_days"),
            ({"next_run_on": clock.today() - timedelta(days=1)}, "next_run_on"),
        ],
    )
    def test_what_a_template_must_not_be(self, facts, field):
        with pytest.raises(Invalid) as refused:
            make.template(**facts)
        assert field in refused.value.fields

    def test_the_pool_holds_active_reviewers_only(self):
        with pytest.raises(Invalid):
            make.template(make.person())
        with pytest.raises(Invalid):
            make.template(make.person("reviewer", active=False))

    def test_editing_does_not_touch_running_campaigns(self, reviewer):
        make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        template = campaign.template
        reviews.update_template(
            actor=make.acting(template.owner), template=template, kinds=["grant"], expected_version=template.etag
        )
        campaign.refresh_from_db()
        assert campaign.scope["kinds"] == ["server"]


class TestPopulation:
    def test_is_what_is_active_and_matches_the_filter(self, reviewer):
        wanted = make.active_server(title="Orders", environment="production")
        make.active_server(title="Stock", environment="test")
        make.complete_draft(title="Orders draft")
        inside = make.grant(server=wanted)
        make.requested_grant(server=wanted)
        campaign = make.campaign(reviewer, scope={"environment": ["production"], "q": "Orders"})
        assert {(i.kind, i.subject_pk) for i in campaign.items.all()} == {("server", wanted.pk), ("grant", inside.pk)}

    def test_items_and_exclusions_tie_out_and_are_hashed(self, reviewer):
        server = make.active_server()
        make.grant(server=server)
        first = make.campaign(reviewer, kinds=["server"])
        second = make.campaign(reviewer)
        assert [(e.kind, e.excluded_because) for e in second.population.all()] == [
            ("server", f"It is reviewed in {first.name}."),
            ("grant", ""),
        ]
        found = gate(second)
        assert (found.items, found.exclusions, found.population, found.ties_out) == (1, 1, 2, True)
        assert second.population_hash == generation.population_hash(second)
        assert second.state == "active"

    def test_what_ended_after_the_launch_is_an_exclusion_too(self, reviewer):
        grant = make.grant()
        template = make.template(reviewer, kinds=["grant"])
        launched = reviews.launch_campaign(actor=make.acting(template.owner), template=template)
        trust.revoke_relationship(actor=make.acting(make.person("security")), relationship=grant, reason="Gone")
        reviews.generate_items(campaign_id=launched.pk)
        assert PopulationEntry.objects.get().excluded_because == "It ended after the launch."

    def test_what_comes_after_the_launch_is_not_in_it(self, reviewer):
        make.active_server()
        template = make.template(reviewer, kinds=["server"])
        launched = reviews.launch_campaign(actor=make.acting(template.owner), template=template)
        make.active_server()
        reviews.generate_items(campaign_id=launched.pk)
        assert launched.items.count() == 1

    def test_a_snapshot_holds_facts_and_names_and_never_the_clock(self, reviewer):
        server = make.active_server()
        make.connection(server=server)
        first = make.campaign(reviewer, kinds=["server"])
        before = first.items.get()
        reviews.cancel_campaign(actor=make.acting(first.owner), campaign=first, reason="Again")
        again = make.campaign(reviewer, kinds=["server"]).items.get()
        assert (again.snapshot, again.fingerprint) == (before.snapshot, before.fingerprint)
        assert before.evidence["context"]["names"][str(server.owner_id)] == server.owner.name


class TestGate:
    def test_an_item_without_an_independent_reviewer_blocks(self):
        server = make.active_server()
        owner = server.owner
        owner.roles = ["reviewer"]
        owner.save()
        campaign = make.campaign(owner, kinds=["server"])
        item = campaign.items.get()
        assert (campaign.state, item.state, item.work_items.count()) == ("staged", "pending", 0)
        assert campaign.state_reason == "1 item has no eligible independent reviewer."
        with pytest.raises(Conflict):
            reviews.activate_campaign(actor=make.acting(campaign.owner), campaign=campaign)
        helper = make.person("reviewer")
        with pytest.raises(NotAllowed):
            reviews.assign_reviewer(actor=make.acting(helper), item=item, to=helper)
        reviews.assign_reviewer(actor=make.acting(campaign.owner), item=item, to=helper)
        reviews.activate_campaign(actor=make.acting(campaign.owner), campaign=campaign)
        campaign.refresh_from_db()
        assert campaign.state == "active"

    def test_retrying_finds_people_who_came_later_and_opens(self):
        server = make.active_server()
        server.owner.roles = ["reviewer"]
        server.owner.save()
        campaign = make.campaign(server.owner, kinds=["server"])
        campaign.template.first_stage.reviewers.add(make.person("reviewer"))
        assert reviews.retry_assignment(actor=make.acting(campaign.owner), campaign=campaign) == 1
        campaign.refresh_from_db()
        assert campaign.state == "active"

    def test_an_empty_campaign_never_completes_in_silence(self, reviewer):
        campaign = make.campaign(reviewer)
        assert campaign.state == "staged"
        assert "Nothing is left to review" in campaign.state_reason
        with pytest.raises(Conflict):
            reviews.activate_campaign(actor=make.acting(campaign.owner), campaign=campaign)

    def test_nothing_is_decided_before_the_campaign_is_active(self):
        server, other = make.active_server(), make.active_server()
        server.owner.roles = ["reviewer"]
        server.owner.save()
        campaign = make.campaign(server.owner, kinds=["server"])
        assert campaign.state == "staged"
        with pytest.raises(Conflict):
            make.decide(campaign.items.get(server=other))


class TestLaunchActs:
    def test_once_per_template_period_and_scope(self, reviewer):
        make.active_server()
        campaign = make.campaign(reviewer)
        manager = make.acting(campaign.owner)
        with pytest.raises(AlreadyLaunched) as refused:
            reviews.launch_campaign(actor=manager, template=campaign.template, period=campaign.period)
        assert refused.value.campaign == campaign
        assert refused.value.status == 409
        assert reviews.launch_campaign(actor=manager, template=campaign.template, period="extra")
        reviews.cancel_campaign(actor=manager, campaign=campaign, reason="Wrong pool")
        assert reviews.launch_campaign(actor=manager, template=campaign.template, period=campaign.period)

    def test_who_may_launch_and_cancel(self, reviewer):
        make.active_server()
        campaign = make.campaign(reviewer)
        for person in (reviewer, make.person(), make.person("auditor"), make.outsider()):
            with pytest.raises(NotAllowed):
                reviews.launch_campaign(actor=make.acting(person), template=campaign.template, period="other")
            with pytest.raises(NotAllowed):
                reviews.cancel_campaign(actor=make.acting(person), campaign=campaign, reason="No")
        with pytest.raises(Invalid):
            reviews.cancel_campaign(actor=make.acting(campaign.owner), campaign=campaign, reason=" ")

    def test_cancelling_keeps_everything_and_frees_the_subjects(self, reviewer):
        make.active_server()
        campaign = make.campaign(reviewer)
        make.decide(campaign.items.get())
        reviews.cancel_campaign(actor=make.acting(campaign.owner), campaign=campaign, reason="Superseded")
        assert set(campaign.items.values_list("state", flat=True)) == {"cancelled"}
        assert set(WorkItem.objects.values_list("state", flat=True)) == {"closed"}
        with pytest.raises(IllegalTransition):
            reviews.cancel_campaign(actor=make.acting(campaign.owner), campaign=campaign, reason="Twice")
        assert make.campaign(reviewer).items.count() == 1

    def test_a_switched_off_template_does_not_launch(self):
        template = make.template(enabled=False)
        with pytest.raises(Conflict):
            reviews.launch_campaign(actor=make.acting(template.owner), template=template)


class TestReviewerRules:
    def test_the_owner_of_the_system_reached_is_asked_first(self, reviewer):
        owner = make.person("reviewer", name="Olga")
        connection = make.connection(system=make.system(owner=owner))
        campaign = make.campaign(reviewer, kinds=["connection"], reviewer_rule="system_owner")
        held = make.work_of(campaign.items.get())
        assert held.reviewer == owner
        assert connection.system.name in held.chosen_because

    def test_the_lead_of_the_team_is_asked_first_unless_barred(self, reviewer):
        lead = make.person("reviewer")
        make.active_server(in_team=make.team(lead=lead))
        make.active_server(owner=lead, in_team=make.team(lead=lead))
        campaign = make.campaign(reviewer, kinds=["server"], reviewer_rule="team_lead")
        held = {w.item.server.owner_id == lead.pk: w.reviewer for w in WorkItem.objects.filter(item__campaign=campaign)}
        assert held == {False: lead, True: reviewer}

    def test_confidential_things_open_to_their_reviewer(self, reviewer):
        server = make.active_server(confidential=True)
        assert not type(server).objects.visible_to(make.acting(reviewer)).filter(pk=server.pk).exists()
        make.campaign(reviewer, kinds=["server"])
        assert type(server).objects.visible_to(make.acting(reviewer)).filter(pk=server.pk).exists()


class TestResumption:
    def many(self):
        server = make.active_server()
        for _ in range(7):
            make.grant(server=server)

    def outcome(self, campaign):
        return [
            (i.kind, i.subject_pk, i.fingerprint, i.evidence_hash, make.work_of(i).reviewer_id)
            for i in campaign.items.prefetch_related("work_items").order_by("kind", "grant_id")
        ]

    def test_interrupted_anywhere_it_ends_the_same(self, monkeypatch):
        pool = [make.person("reviewer") for _ in range(3)]
        self.many()
        monkeypatch.setattr(generation, "CHUNK", 3)
        template = make.template(*pool)
        manager = make.acting(template.owner)
        undisturbed = reviews.launch_campaign(actor=manager, template=template)
        reviews.generate_items(campaign_id=undisturbed.pk)
        expected = self.outcome(undisturbed)
        assert len(expected) == 8
        for stop_after in (0, 1, 2):
            reviews.cancel_campaign(actor=manager, campaign=Campaign.objects.latest("created_at"), reason="Once more")
            disturbed = reviews.launch_campaign(actor=manager, template=template)
            for _ in range(stop_after):
                assert generation._generate_chunk(disturbed.pk, generation.GENERATOR) is True
            # A new load elsewhere must not change whom the rest goes to.
            reviews.generate_items(campaign_id=disturbed.pk)
            disturbed.refresh_from_db()
            assert disturbed.state == "active"
            assert self.outcome(disturbed) == expected

    def test_two_workers_do_not_generate_at_once(self, django_db_blocker):
        template = make.template()
        launched = reviews.launch_campaign(actor=make.acting(template.owner), template=template)
        from django.db import connections

        other = connections.create_connection("default")
        other.settings_dict = connection.settings_dict
        try:
            with other.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", [generation._LOCK_CLASS, str(launched.pk)])
            assert reviews.generate_items(campaign_id=launched.pk) is False
            launched.refresh_from_db()
            assert launched.state == "generating"
        finally:
            other.close()

    def test_the_sweep_finds_launches_that_stopped_moving(self):
        template = make.template()
        launched = reviews.launch_campaign(actor=make.acting(template.owner), template=template)
        assert reviews.resume_generation(now=clock.now()) == []
        assert reviews.resume_generation(now=clock.now() + timedelta(seconds=31)) == [launched.pk]

    def test_a_failure_is_shown_and_can_be_retried(self, monkeypatch):
        from registry.reviews import tasks

        make.active_server()
        template = make.template(make.person("reviewer"))
        launched = reviews.launch_campaign(actor=make.acting(template.owner), template=template)
        with monkeypatch.context() as patched:
            patched.setattr(generation, "frozen_select", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                tasks.generate_items.run(campaign_id=str(launched.pk))
        launched.refresh_from_db()
        assert launched.state == "generation_failed"
        reviews.retry_generation(actor=make.acting(launched.owner), campaign=launched)
        tasks.generate_items.run(campaign_id=str(launched.pk))
        launched.refresh_from_db()
        assert launched.state == "active"


class TestDueTemplates:
    def test_launched_once_on_their_day_and_moved_on(self, reviewer):
        make.active_server()
        today = clock.today()
        template = make.template(reviewer, next_run_on=today, cadence_days=90, risk_analysis="Little changes.")
        assert [c.period for c in reviews.launch_due_campaigns(today=today)] == [today.isoformat()]
        assert reviews.launch_due_campaigns(today=today) == []
        template.refresh_from_db()
        assert template.next_run_on == today + timedelta(days=90)
        campaign = Campaign.objects.get()
        assert campaign.owner == template.owner

    def test_missed_days_run_once_and_stay_on_the_grid(self, reviewer):
        today = clock.today()
        template = make.template(reviewer, next_run_on=today, cadence_days=30, duration_days=14)
        later = today + timedelta(days=70)
        assert len(reviews.launch_due_campaigns(today=later)) == 1
        template.refresh_from_db()
        assert template.next_run_on == today + timedelta(days=90)

    def test_switched_off_is_not_due(self):
        make.template(next_run_on=clock.today(), enabled=False)
        assert reviews.launch_due_campaigns(today=clock.today()) == []
        assert Template.objects.get().next_run_on == clock.today()


class TestCosts:
    def test_generation_asks_a_fixed_number_of_questions_per_chunk(self, reviewer, django_assert_num_queries):
        def queries_for(grants: int) -> int:
            from django.test.utils import CaptureQueriesContext

            for _ in range(grants):
                make.grant(server=server)
            template = make.template(reviewer, kinds=["grant"])
            launched = reviews.launch_campaign(actor=make.acting(template.owner), template=template)
            with CaptureQueriesContext(connection) as captured:
                generation._generate_chunk(launched.pk, generation.GENERATOR)
            reviews.cancel_campaign(actor=make.acting(launched.owner), campaign=launched, reason="Measured")
            return len(captured)

        server = make.active_server()
        assert queries_for(2) == queries_for(6)
        assert Item.objects.count() == 10
