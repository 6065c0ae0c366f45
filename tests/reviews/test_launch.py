"""Launching: population, items, exclusions, the gate, resumption, due templates."""

from datetime import timedelta

import pytest
from django.db import connection

from registry.audit.models import Event
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Conflict, IllegalTransition, Invalid, NotAllowed, NotSignedIn, SecretRefused
from registry.reviews import services as reviews
from registry.reviews.gate import gate
from registry.reviews.models import Campaign, Item, PopulationEntry, Template, WorkItem
from registry.reviews.population import clean_scope, population
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


class TestScope:
    @pytest.mark.parametrize(
        ("kinds", "scope", "field", "said"),
        [
            (["server", "grant"], {"colour": ["red"]}, "scope", "Not a filter: colour"),
            (["server", "grant"], {"tool_class": ["write"]}, "scope", "Not a filter of each grant"),
            (["agent"], {"lifecycle": ["active"]}, "scope", "Not a filter of each agent"),
            (["server"], {"lifecycle": ["draft"]}, "scope.lifecycle", "Cannot be reviewed: draft"),
            (["grant"], {"status": ["revoked"]}, "scope.status", "Cannot be reviewed: revoked"),
            (["server"], {"owner": "me"}, "scope.owner", "somebody else"),
            (["server"], {"certified": "perhaps"}, "scope.certified", ""),
            (["server"], {"certified": ["true", "false"]}, "scope.certified", "One value only"),
        ],
    )
    def test_what_means_nothing_for_what_is_reviewed_is_refused_by_name(self, kinds, scope, field, said):
        with pytest.raises(Invalid) as refused:
            clean_scope(scope, kinds)
        assert said in " ".join(refused.value.fields[field])

    def test_it_is_one_canonical_form(self):
        team = make.team()
        cleaned = clean_scope(
            {"tier": ["low", "high", "low"], "team": [team.slug], "q": " stock ", "owner": ""}, ["server"]
        )
        assert cleaned == {"tier": ["high", "low"], "team": [str(team.pk)], "q": "stock"}
        assert clean_scope(cleaned, ["server"]) == cleaned

    def test_a_secret_in_a_filter_is_not_stored(self):
        with pytest.raises(SecretRefused):
            clean_scope({"q": "AKIAIOSFODNN7EXAMPLE"}, ["server"])

    def test_other_kinds_ask_again_whether_the_scope_fits(self):
        template = make.template(kinds=["server"], scope={"tool_class": ["write"]})
        with pytest.raises(Invalid) as refused:
            reviews.update_template(actor=make.acting(template.owner), template=template, kinds=["server", "grant"])
        assert "scope" in refused.value.fields

    def test_filters_of_the_list_pages_select_the_same_here(self):
        reader = make.active_server(tools=[{"name": "look", "confirmed_class": "read"}])
        writer = make.active_server(tools=[{"name": "put", "confirmed_class": "write"}])
        named = make.grant(server=reader)
        make.grant(server=writer)

        def found(kind, **scope):
            ((_kind, queryset),) = population([kind], clean_scope(scope, [kind]))
            return set(queryset)

        assert found("server", tool_class=["write"]) == {writer}
        assert found("server", owner=reader.owner.email) == {reader}
        assert found("server", certified="true") == set()
        assert found("grant", server=reader.name) == {named}
        assert found("grant", agent=str(named.agent_id)) == {named}

    def test_states_say_for_their_own_kind_what_is_in_service(self):
        server = make.active_server()
        grant = make.grant(server=server)
        scope = clean_scope({"lifecycle": ["suspended"]}, ["server", "grant"])
        assert {kind: set(things) for kind, things in population(["server", "grant"], scope)} == {
            "server": set(),
            "grant": {grant},
        }

    def test_an_agents_tier_is_that_of_the_most_critical_server_it_may_call(self):
        from registry.catalog.models import Server

        idle = make.agent()
        grant = make.grant()
        Server.objects.filter(pk=grant.server_id).update(tier="high")

        def of_tier(*tiers):
            ((_kind, agents),) = population(["agent"], clean_scope({"tier": tiers}, ["agent"]))
            return set(agents)

        assert of_tier("high") == {grant.agent}
        assert idle in of_tier("low") and grant.agent not in of_tier("low", "medium", "critical")

    def test_a_rolling_campaign_takes_what_falls_due_and_asks_by_when_it_lapses(self, reviewer):
        from registry.catalog.models import Server

        now = clock.now()
        soon, late, never, lapsed = (make.active_server() for _ in range(4))
        for server, days in ((soon, 5), (late, 100), (lapsed, -3)):
            Server.objects.filter(pk=server.pk).update(certified_until=now + timedelta(days=days))
        campaign = make.campaign(reviewer, kinds=["server"], rolling=True, cadence_days=30)
        due = {item.server_id: item.due_at for item in campaign.items.all()}
        assert due.keys() == {soon.pk, never.pk, lapsed.pk}
        assert due[soon.pk] == now + timedelta(days=5)
        assert due[never.pk] == campaign.due_at
        assert due[lapsed.pk] >= now + timedelta(days=1)


class TestGate:
    def test_the_tie_out_and_the_hash_are_asked_of_the_rows(self, reviewer):
        """Invariant 5: an entry that is neither an item nor an exclusion keeps the campaign from starting."""
        make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        assert gate(campaign).passes
        assert campaign.population_hash == digest([["server", str(campaign.items.get().server_id), ""]])
        stray = make.active_server()
        PopulationEntry.objects.create(campaign=campaign, position=2, kind="server", server=stray)
        found = gate(campaign)
        assert not found.ties_out and not found.hash_holds
        assert len(found.problems) == 2

    def test_the_hash_is_over_canonical_json_whatever_the_reasons_say(self, reviewer):
        server = make.active_server()
        first = make.campaign(reviewer, kinds=["server"], name='Déjà "vu" \\ 1/2\t\u2028 \x1f')
        second = make.campaign(reviewer, kinds=["server"])
        (entry,) = second.population.all()
        assert first.name in entry.excluded_because
        assert second.population_hash == digest([["server", str(server.pk), entry.excluded_because]])

    def test_a_missing_owner_blocks_until_the_owner_of_the_campaign_says_why_not(self, reviewer):
        server, late = make.active_server(), make.active_server()
        server.owner.is_active = False
        server.owner.save()
        campaign = make.campaign(reviewer, kinds=["server"])
        assert campaign.state == "staged"
        assert gate(campaign).ownerless == [server]
        owner = make.acting(campaign.owner)
        with pytest.raises(Conflict):
            reviews.activate_campaign(actor=owner, campaign=campaign)
        for person in (reviewer, make.person("campaign_manager"), make.person("auditor"), make.outsider()):
            with pytest.raises(NotAllowed):
                reviews.waive_gap(actor=make.acting(person), campaign=campaign, gap="missing_owner", reason="Fine.")
        for facts, field in (
            ({"gap": "missing_owner", "reason": " "}, "reason"),
            ({"gap": "no_reviewer", "reason": "Fine."}, "gap"),
        ):
            with pytest.raises(Invalid) as refused:
                reviews.waive_gap(actor=owner, campaign=campaign, **facts)
            assert field in refused.value.fields
        with pytest.raises(Conflict):
            reviews.waive_gap(actor=owner, campaign=campaign, gap="moved_facts", reason="Nothing moved.")
        waiver = reviews.waive_gap(actor=owner, campaign=campaign, gap="missing_owner", reason="Handed over Friday.")
        campaign.refresh_from_db()
        assert (campaign.state, waiver.covers) == ("active", [server.pk])
        event = Event.objects.get(act="campaign.gap_waived")
        assert event.data == {"gap": "missing_owner", "covers": [str(server.pk)], "reason": "Handed over Friday."}
        # What joins the gap later is not covered.
        late.owner.is_active = False
        late.owner.save()
        assert gate(campaign).ownerless == [late]

    def test_an_agent_without_an_owner_blocks_too(self, reviewer):
        grant = make.grant()
        type(grant.agent).objects.filter(pk=grant.agent_id).update(owner=None)
        campaign = make.campaign(reviewer, kinds=["grant"])
        assert campaign.state == "staged"
        assert gate(campaign).ownerless == [grant.agent]

    def test_facts_that_moved_or_were_not_looked_at_keep_it_staged(self, reviewer):
        from registry.catalog import services as catalog

        server, blocking = make.active_server(), make.active_server()
        blocking.owner.is_active = False
        blocking.owner.save()
        campaign = make.campaign(reviewer, kinds=["server"])
        assert campaign.state == "staged" and gate(campaign).fresh
        with clock.at(clock.now() + timedelta(hours=2)):
            assert not gate(campaign).fresh
            catalog.set_tools(actor=make.acting(server.owner), server=server, tools=[{"name": "other"}])
            with pytest.raises(NotAllowed):
                reviews.recheck_campaign(actor=make.acting(reviewer), campaign=campaign)
            assert reviews.recheck_campaign(actor=make.acting(campaign.owner), campaign=campaign) == 1
            campaign.refresh_from_db()
            found = gate(campaign)
            assert found.fresh and [item.server for item in found.moved] == [server]
            owner = make.acting(campaign.owner)
            reviews.waive_gap(actor=owner, campaign=campaign, gap="moved_facts", reason="Seen before deciding anyway.")
            campaign.refresh_from_db()
            assert campaign.state == "staged", "the missing owner is still there"
            reviews.waive_gap(actor=owner, campaign=campaign, gap="missing_owner", reason="Known.")
            campaign.refresh_from_db()
            assert campaign.state == "active"

    def test_fewer_reviewers_than_the_stage_asks_for_block(self, reviewer):
        """Invariant 6 for each seat: two were asked for, one is there."""
        owner = make.person("reviewer")
        make.active_server(owner=owner)
        campaign = make.campaign(reviewer, owner, kinds=["server"], reviewers_per_item=2)
        item = campaign.items.get()
        assert (campaign.state, item.state, item.work_items.count()) == ("staged", "pending", 1)
        assert gate(campaign).without_reviewer == [item]

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


class TestSubjectsAsked:
    """`launch_subjects`: how micro-certifications start."""

    def launch(self, *subjects, **facts):
        values = {"kind": Campaign.Kind.MICRO, "name": "After a change", "period": "2026-11-22", "template": None}
        launched = reviews.launch_subjects(
            actor=generation.GENERATOR, subjects=subjects, **(values | {"cause": "facts_changed"} | facts)
        )
        reviews.generate_items(campaign_id=launched.pk)
        launched.refresh_from_db()
        return launched

    def test_exactly_these_are_reviewed_as_the_template_says(self, reviewer):
        server, other = make.active_server(), make.active_server()
        grant = make.grant(server=other)
        template = make.template(reviewer, challenge_days=3, duration_days=5)
        campaign = self.launch(("grant", grant.pk), ("server", server.pk), ("grant", grant.pk), template=template)
        assert {(i.kind, i.subject_pk) for i in campaign.items.all()} == {("server", server.pk), ("grant", grant.pk)}
        assert (campaign.state, campaign.challenge_days, campaign.owner) == ("active", 3, template.owner)
        assert campaign.stages[0]["duration_days"] == 5

    def test_one_whose_owner_left_starts_nevertheless(self, reviewer):
        server = make.active_server()
        server.owner.is_active = False
        server.owner.save()
        assert self.launch(("server", server.pk)).state == "active"

    def test_what_is_reviewed_already_makes_no_second_item(self, reviewer):
        server = make.active_server()
        first = make.campaign(reviewer, kinds=["server"])
        second = self.launch(("server", server.pk))
        assert (second.state, second.items.count()) == ("cancelled", 0)
        assert "Nothing is left to review" in second.state_reason
        assert first.name in second.population.get().excluded_because

    def test_the_same_twice_in_a_period_is_two_campaigns(self, reviewer):
        server = make.active_server()
        template = make.template(reviewer)
        first = self.launch(("server", server.pk), template=template)
        reviews.cancel_campaign(actor=make.acting(first.owner), campaign=first, reason="Done with it")
        assert self.launch(("server", server.pk), template=template).state == "active"

    def test_only_who_launches_campaigns_and_only_something(self, reviewer):
        with pytest.raises(Invalid):
            self.launch()
        with pytest.raises(NotAllowed):
            reviews.launch_subjects(
                actor=make.acting(reviewer), kind=Campaign.Kind.MICRO, name="X", period="x",
                subjects=[("server", make.active_server().pk)], template=None,
            )  # fmt: skip


class TestReviewerRules:
    def test_both_sides_of_a_grant_are_asked(self, reviewer):
        lead, owner = make.person(), make.person()
        server = make.active_server()
        make.connection(server=server, system=make.system(data_class="internal"))
        make.connection(server=server, system=make.system(owner=owner, data_class="restricted"))
        make.grant(server=server, agent=make.agent(team=make.team(lead=lead)))
        campaign = make.campaign(reviewer, kinds=["grant"], reviewer_rule="both_sides")
        held = {work.side: work.reviewer for work in campaign.items.get().work_items.all()}
        assert held == {"consumer": lead, "provider": owner}

    def test_security_and_a_named_team_are_asked_for_themselves(self, reviewer):
        guard, member = make.person("security"), make.person("reviewer")
        make.active_server()
        security = make.campaign(reviewer, kinds=["server"], reviewer_rule="security")
        assert make.work_of(security.items.get()).reviewer == guard
        reviews.cancel_campaign(actor=make.acting(security.owner), campaign=security, reason="Next")
        team = make.team(member, name="Data stewards")
        group = make.campaign(reviewer, kinds=["server"], reviewer_rule="group", group=team)
        held = make.work_of(group.items.get())
        assert held.reviewer == member and "Data stewards" in held.chosen_because
        reviews.cancel_campaign(actor=make.acting(group.owner), campaign=group, reason="Next")
        nobody = make.campaign(reviewer, kinds=["server"], reviewer_rule="group", group=make.team())
        assert nobody.state == "staged", "somebody outside the named team was asked"

    def test_agents_are_reviewed_by_people_who_gain_nothing(self, reviewer):
        agent = make.agent(owner=reviewer)
        other = make.person("reviewer")
        campaign = make.campaign(reviewer, other, kinds=["agent"])
        item = campaign.items.get(agent=agent)
        assert (item.rests_on_id, make.work_of(item).reviewer) == (None, other)

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
        campaign = make.campaign(reviewer, kinds=["server"], reviewer_rule="team_lead", fallback=["pool"])
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
