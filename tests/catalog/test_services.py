"""Acts of the catalog: who may, what they leave behind, what they refuse."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from registry.audit.models import Event
from registry.catalog import services
from registry.catalog.models import Agent, Purpose, SecretSource, Server, System, Tool
from registry.catalog.queries import completeness, duplicates, same_secret
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import (
    Changed,
    Conflict,
    IllegalTransition,
    Invalid,
    NotAllowed,
    NotIndependent,
    NotSignedIn,
    SecretRefused,
)
from tests import factories as make

pytestmark = pytest.mark.django_db

AWS_KEY = "AKIA" + "IOSFODNN7EXAMPLQ"


def acts_on(server):
    return list(Event.objects.filter(subject_id=server.pk).order_by("id").values_list("act", flat=True))


class TestRegistering:
    def test_a_member_starts_a_draft_with_evidence_of_who_did(self):
        ona = make.person()
        server = make.draft(created_by=ona, name="com.example/warehouse-sql")
        assert (server.lifecycle, server.created_by, server.owner) == ("draft", ona, None)
        event = Event.objects.get(subject_id=server.pk, act="server.registered")
        assert (event.actor_id, event.subject_label) == (ona.pk, "com.example/warehouse-sql")

    def test_nobody_signed_in_and_people_without_a_role_are_refused(self):
        with pytest.raises(NotSignedIn):
            services.register_server(actor=Actor.anonymous(), name="com.example/a")
        with pytest.raises(NotAllowed):
            services.register_server(actor=make.acting(make.outsider()), name="com.example/a")
        assert not Server.objects.exists()

    @pytest.mark.parametrize("name", ["warehouse", "com.example/a/b", "com.example/", "com example/a", ""])
    def test_a_name_that_is_not_reverse_dns_is_refused_on_its_field(self, name):
        with pytest.raises(Invalid) as refusal:
            make.draft(name=name)
        assert "name" in refusal.value.fields

    def test_a_taken_name_is_refused(self):
        make.draft(name="com.example/a")
        with pytest.raises(Invalid) as refusal:
            make.draft(name="com.example/a")
        assert "name" in refusal.value.fields

    def test_a_secret_is_refused_with_the_field_and_never_echoed(self):
        with pytest.raises(SecretRefused) as refusal:
            make.draft(description=f"uses {AWS_KEY}")
        assert list(refusal.value.fields) == ["description"]
        assert AWS_KEY not in str(refusal.value) + str(refusal.value.fields)
        assert not Server.objects.exists()
        assert not Event.objects.filter(act="server.registered").exists()

    def test_an_endpoint_is_named_by_its_canonical_uri(self):
        server = make.draft(
            endpoints=[
                {"url": "HTTPS://MCP.Example.test/Path/?tools=a,b#top"},
                {"package_registry": "npm", "package_identifier": "@acme/db", "package_version": "1.2.0"},
            ]
        )
        assert {endpoint.canonical_uri for endpoint in server.endpoints.all()} == {
            "https://mcp.example.test/Path?tools=a,b",
            "npm:@acme/db@1.2.0",
        }

    def test_an_endpoint_must_say_where_it_is(self):
        with pytest.raises(Invalid) as refusal:
            make.draft(endpoints=[{"transport": "stdio"}])
        assert "endpoints.0.url" in refusal.value.fields
        with pytest.raises(Invalid):
            make.draft(endpoints=[{"url": "file:///etc/passwd"}])


class TestEditing:
    def test_accountable_people_and_administrators_edit_and_nobody_else(self):
        server = make.complete_draft()
        for who in (server.owner, server.deputy, make.person("administrator")):
            services.update_identity(actor=make.acting(who), server=server, title=f"By {who.name}")
        for who in (make.person(), make.person("reviewer"), make.person("security"), make.outsider()):
            with pytest.raises(NotAllowed):
                services.update_identity(actor=make.acting(who), server=server, title="No")

    def test_two_people_editing_the_same_version_do_not_overwrite_each_other(self):
        server = make.complete_draft()
        seen = server.etag
        services.update_identity(actor=make.acting(server.owner), server=server, title="First", expected_version=seen)
        with pytest.raises(Changed):
            services.update_identity(
                actor=make.acting(server.deputy), server=server, title="Second", expected_version=seen
            )
        server.refresh_from_db()
        assert server.title == "First"

    def test_changing_a_part_changes_the_servers_etag(self):
        server = make.complete_draft()
        before = server.etag
        services.set_tools(actor=make.acting(server.owner), server=server, tools=[{"name": "query"}])
        server.refresh_from_db()
        assert server.etag != before

    def test_nothing_changes_while_a_reviewer_looks_at_it(self):
        server = make.submitted_server()
        with pytest.raises(Conflict, match="Withdraw"):
            services.update_identity(actor=make.acting(server.owner), server=server, title="x")

    def test_repeating_an_edit_leaves_no_second_event(self):
        server = make.complete_draft()
        before = acts_on(server)
        services.set_tools(
            actor=make.acting(server.owner),
            server=server,
            tools=[
                {"name": "query", "description": "Runs a query.", "confirmed_class": "read"},
                {"name": "export", "description": "Writes a file.", "confirmed_class": "write"},
            ],
        )
        assert acts_on(server) == before


class TestPeople:
    def test_a_deputy_must_be_somebody_else(self):
        server = make.draft()
        ona = make.person()
        with pytest.raises(Invalid) as refusal:
            services.assign_people(
                actor=make.acting(server.created_by), server=server, owner=ona, deputy=ona, team=None
            )
        assert "deputy" in refusal.value.fields
        with pytest.raises(IntegrityError), transaction.atomic():
            Server.objects.filter(pk=server.pk).update(owner=ona, deputy=ona)

    def test_naming_oneself_accepts_and_naming_another_waits_for_them(self):
        ona, otto = make.person(), make.person()
        server = make.draft(created_by=ona)
        by = make.acting(ona)
        server = services.assign_people(actor=by, server=server, owner=ona, deputy=None, team=None)
        assert server.owner_accepted_at is not None
        server = services.assign_people(actor=by, server=server, owner=otto, deputy=None, team=None)
        assert server.owner_accepted_at is None
        with pytest.raises(NotAllowed):
            services.accept_ownership(actor=by, server=server)
        server = services.accept_ownership(actor=make.acting(otto), server=server)
        assert server.owner_accepted_at is not None
        with pytest.raises(Conflict):
            services.accept_ownership(actor=make.acting(otto), server=server)

    def test_a_leaver_cannot_be_named(self):
        server = make.draft()
        with pytest.raises(Invalid) as refusal:
            services.assign_people(
                actor=make.acting(server.created_by),
                server=server,
                owner=make.person(active=False),
                deputy=None,
                team=None,
            )
        assert "owner" in refusal.value.fields


class TestPurpose:
    def test_a_changed_purpose_gets_the_next_number_and_the_old_one_stays(self):
        server = make.complete_draft()
        facts = {
            "statement": "Answer sales questions.",
            "in_scope": [],
            "out_of_scope": [],
            "data_classes": ["internal"],
            "ends_on": clock.today() + timedelta(days=30),
        }
        second = services.set_purpose(actor=make.acting(server.owner), server=server, **facts)
        again = services.set_purpose(actor=make.acting(server.owner), server=server, **facts)
        assert (second.number, again.pk) == (2, second.pk)
        assert [purpose.number for purpose in server.purposes.all()] == [2, 1]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"ends_on": None}, "ends_on"),
            ({"ends_on": clock.today()}, "ends_on"),
            ({"ends_on": clock.today() + timedelta(days=5000)}, "ends_on"),
            ({"statement": "  "}, "statement"),
            ({"data_classes": []}, "data_classes"),
            ({"data_classes": ["secretish"]}, "data_classes"),
        ],
    )
    def test_an_unbounded_purpose_is_refused(self, change, field):
        server = make.draft()
        facts = {
            "statement": "Answer questions.",
            "in_scope": [],
            "out_of_scope": [],
            "data_classes": ["internal"],
            "ends_on": clock.today() + timedelta(days=30),
        }
        with pytest.raises(Invalid) as refusal:
            services.set_purpose(actor=make.acting(server.created_by), server=server, **(facts | change))
        assert list(refusal.value.fields) == [field]

    def test_the_database_refuses_to_change_a_purpose(self):
        server = make.complete_draft()
        with pytest.raises(DatabaseError), transaction.atomic():
            Purpose.objects.filter(server=server).update(statement="Anything at all.")


class TestTools:
    def test_activation_pins_the_definitions_and_a_change_is_not_approved_by_being_seen(self):
        server = make.active_server()
        tool = server.tools.get(name="query")
        assert tool.approved
        services.set_tools(
            actor=make.acting(server.owner),
            server=server,
            tools=[{"name": "query", "description": "Runs any statement."}, {"name": "drop"}],
        )
        tool.refresh_from_db()
        assert not tool.approved
        assert tool.confirmed_class == "read", "what a form does not send stays"
        assert not server.tools.get(name="drop").approved
        assert server.tools.get(name="export").retired_at is not None

    def test_an_unknown_tool_counts_as_the_worst(self):
        assert Tool(name="x").effective_class == "destructive"

    def test_a_tool_is_listed_once(self):
        server = make.draft()
        with pytest.raises(Invalid) as refusal:
            services.set_tools(
                actor=make.acting(server.created_by), server=server, tools=[{"name": "a"}, {"name": "a"}]
            )
        assert "tools.1.name" in refusal.value.fields


class TestSecretSources:
    def test_a_reference_is_kept_and_a_value_is_refused_on_its_field(self):
        server = make.draft()
        by = make.acting(server.created_by)
        services.set_secret_sources(
            actor=by,
            server=server,
            sources=[{"kind": "vault", "reference": "kv/data/wh-sql", "credential_type": "static"}],
        )
        with pytest.raises(SecretRefused) as refusal:
            services.set_secret_sources(
                actor=by,
                server=server,
                sources=[{"kind": "vault", "reference": AWS_KEY, "credential_type": "static"}],
            )
        assert list(refusal.value.fields) == ["sources.0.reference"]
        assert server.secret_sources.get(retired_at=None).reference == "kv/data/wh-sql"

    @pytest.mark.parametrize(
        ("source", "field"),
        [
            ({"kind": "none"}, "sources.0.reason"),
            ({"kind": "vault", "credential_type": "static"}, "sources.0.reference"),
            ({"kind": "vault", "reference": "kv/data/a"}, "sources.0.credential_type"),
        ],
    )
    def test_each_kind_asks_for_what_it_needs(self, source, field):
        server = make.draft()
        with pytest.raises(Invalid) as refusal:
            services.set_secret_sources(actor=make.acting(server.created_by), server=server, sources=[source])
        assert list(refusal.value.fields) == [field]

    @pytest.mark.parametrize(
        ("kind", "reference", "taken"),
        [
            ("vault", "Sup3rS3cret!Passw0rd", False),
            ("vault", "correct horse battery", False),
            ("vault", "kv/data/wh-sql", True),
            ("aws_secrets_manager", "hunter2", False),
            ("aws_secrets_manager", "prod/warehouse", True),
            ("kubernetes", "platform/rabbitmq#password", True),
            ("gcp_secret_manager", "p4ssw0rd", False),
            ("environment", "DB_PASSWORD", True),
            ("environment", "P@ssw0rd123", False),
            ("file", "/etc/warehouse/token", True),
            ("file", "hunter2", False),
            ("prompted", "input:api-key", True),
            ("oauth_client", "secretword", False),
        ],
    )
    def test_a_reference_names_a_place_because_a_bare_word_may_be_the_password(self, kind, reference, taken):
        server = make.draft()
        sources = [{"kind": kind, "reference": reference, "credential_type": "static"}]
        try:
            services.set_secret_sources(actor=make.acting(server.created_by), server=server, sources=sources)
        except Invalid as refusal:
            assert not taken
            assert reference not in str(refusal.fields)
        else:
            assert taken

    def test_no_credential_stands_alone(self):
        server = make.draft()
        with pytest.raises(Invalid):
            services.set_secret_sources(
                actor=make.acting(server.created_by),
                server=server,
                sources=[
                    {"kind": "none", "reason": "Public data"},
                    {"kind": "vault", "reference": "kv/data/a", "credential_type": "static"},
                ],
            )

    def test_one_credential_used_by_two_servers_is_found(self):
        shared = {"kind": "vault", "reference": "kv/data/shared", "credential_type": "static"}
        first, second = make.complete_draft(secret=shared), make.complete_draft(secret=shared)
        assert [source.server for source in same_secret(make.source_of(first))] == [second]


class TestLifecycle:
    def test_a_complete_draft_is_submitted_and_an_incomplete_one_says_what_is_missing(self):
        with pytest.raises(Invalid) as refusal:
            bare = make.draft()
            services.submit_server(actor=make.acting(bare.created_by), server=bare)
        assert set(refusal.value.fields) == {"accountable", "purpose", "credentials", "revocation"}
        assert make.submitted_server().lifecycle == "submitted"

    def test_completeness_names_each_gap(self):
        server = make.complete_draft()
        assert completeness(server).complete
        make.person()
        server.deputy.is_active = False
        server.deputy.save()
        assert completeness(server).missing == {
            "accountable": [f"{server.deputy} is no longer active; name another deputy."]
        }

    def test_an_independent_reviewer_activates(self):
        server = make.submitted_server()
        server = services.activate_server(actor=make.acting(make.person("reviewer")), server=server)
        assert (server.lifecycle, server.activated_at is not None) == ("active", True)

    @pytest.mark.parametrize("who", ["owner", "deputy", "created_by", "submitted_by"])
    def test_whoever_has_a_stake_may_not_activate_even_with_the_role(self, who):
        server = make.submitted_server()
        person = getattr(server, who)
        person.roles = ["reviewer", "security", "administrator"]
        person.save()
        server.refresh_from_db()
        with pytest.raises(NotIndependent) as refusal:
            services.activate_server(actor=make.acting(person), server=server)
        assert person.name in refusal.value.message
        server.refresh_from_db()
        assert server.lifecycle == "submitted"

    def test_the_stake_is_named_even_when_the_role_is_missing_too(self):
        server = make.submitted_server()
        with pytest.raises(NotIndependent, match="owns the server"):
            services.activate_server(actor=make.acting(server.owner), server=server)

    @pytest.mark.parametrize("roles", [("member",), ("auditor",), ("administrator",), ("campaign_manager",)])
    def test_without_the_role_nobody_activates(self, roles):
        with pytest.raises(NotAllowed):
            services.activate_server(actor=make.acting(make.person(*roles)), server=make.submitted_server())

    def test_the_registry_itself_never_activates(self):
        with pytest.raises(NotIndependent):
            services.activate_server(actor=Actor.system("sweep"), server=make.submitted_server())

    def test_returning_needs_reasons_and_gives_it_back_as_a_draft(self):
        server = make.submitted_server()
        reviewer = make.acting(make.person("reviewer"))
        with pytest.raises(Invalid):
            services.return_server(actor=reviewer, server=server, reason=" ")
        server = services.return_server(actor=reviewer, server=server, reason="Say what is out of scope.")
        assert (server.lifecycle, server.lifecycle_reason) == ("draft", "Say what is out of scope.")

    def test_illegal_moves_name_the_state(self):
        server = make.active_server()
        with pytest.raises(IllegalTransition, match="active"):
            services.activate_server(actor=make.acting(make.person("reviewer")), server=server)
        with pytest.raises(IllegalTransition, match="active"):
            services.submit_server(actor=make.acting(server.owner), server=server)

    def test_suspending_is_easy_and_resuming_needs_an_independent_person(self):
        server = make.active_server()
        server = services.suspend_server(actor=make.acting(server.owner), server=server, reason="Odd calls")
        server.owner.roles = ["security"]
        server.owner.save()
        with pytest.raises(NotIndependent):
            services.resume_server(actor=make.acting(server.owner), server=server, reason="Fine again")
        server = services.resume_server(actor=make.acting(make.person("security")), server=server, reason="Explained")
        assert server.lifecycle == "active"

    def test_a_retired_server_stays_but_never_changes(self):
        server = make.active_server()
        services.retire_server(actor=make.acting(server.owner), server=server, reason="Replaced")
        with pytest.raises(Conflict):
            services.update_identity(actor=make.acting(server.owner), server=server, title="x")
        with pytest.raises(DatabaseError), transaction.atomic():
            Server.objects.filter(pk=server.pk).delete()
        assert Server.objects.filter(pk=server.pk).exists()

    def test_a_server_in_use_keeps_its_endpoint_secret_source_and_revocation_path(self):
        server = make.active_server()
        by = make.acting(server.owner)
        for act, parts, question in (
            (services.set_endpoints, "endpoints", "reach"),
            (services.set_secret_sources, "sources", "credentials"),
            (services.set_revocation_path, "steps", "revocation"),
        ):
            with pytest.raises(Invalid) as refusal:
                act(actor=by, server=server, **{parts: []})
            assert question in refusal.value.fields
        assert completeness(server).complete

    def test_the_database_refuses_an_active_server_without_accountable_people(self):
        server = make.draft()
        with pytest.raises(IntegrityError), transaction.atomic():
            Server.objects.filter(pk=server.pk).update(lifecycle="active")


class TestVisibility:
    def test_members_read_the_catalog_and_people_without_a_role_nothing(self):
        server = make.draft()
        assert server in Server.objects.visible_to(make.acting(make.person()))
        assert not Server.objects.visible_to(make.acting(make.outsider()))
        assert not Server.objects.visible_to(Actor.anonymous())

    def test_the_confidential_is_seen_by_its_people_and_by_oversight(self):
        mate = make.person()
        server = make.complete_draft(confidential=True, in_team=make.team(mate))
        sees = [server.owner, server.deputy, mate, make.person("security"), make.person("auditor")]
        for who in sees:
            assert server in Server.objects.visible_to(make.acting(who)), who
        stranger = make.person("reviewer")
        assert server not in Server.objects.visible_to(make.acting(stranger))
        services.admit_viewers(actor=Actor.system("reviews"), thing=server, users=[stranger])
        assert server in Server.objects.visible_to(make.acting(stranger))

    def test_conclusions_are_not_for_people(self):
        server = make.draft()
        with pytest.raises(NotAllowed):
            services.set_tier(actor=make.acting(make.person("administrator")), server=server, tier="low", factors=[])


class TestSystemsAgentsIssuers:
    def test_an_agent_needs_a_spiffe_id_or_an_issuer_with_client_id(self):
        with pytest.raises(Invalid) as refusal:
            make.agent(spiffe_id="")
        assert "spiffe_id" in refusal.value.fields
        known = make.agent(spiffe_id="", issuer=make.issuer(), client_id="billing-bot")
        assert known.identity.startswith("billing-bot at")

    def test_a_system_is_changed_by_its_people_only(self):
        system = make.system()
        services.update_system(actor=make.acting(system.owner), system=system, data_class="confidential")
        with pytest.raises(NotAllowed):
            services.update_system(actor=make.acting(make.person()), system=system, data_class="public")
        assert System.objects.get(pk=system.pk).data_class == "confidential"

    def test_a_retired_system_does_not_change(self):
        system = make.system()
        services.retire_system(actor=make.acting(system.owner), system=system, reason="Switched off")
        with pytest.raises(Conflict):
            services.update_system(actor=make.acting(system.owner), system=system, name="x")

    def test_issuers_are_for_security(self):
        with pytest.raises(NotAllowed):
            services.register_issuer(
                actor=make.acting(make.person()), name="IdP", kind="oidc", uri="https://idp.example.test"
            )
        with pytest.raises(Invalid) as refusal:
            services.register_issuer(
                actor=make.acting(make.person("security")), name="IdP", kind="spiffe", uri="https://a.test"
            )
        assert "uri" in refusal.value.fields

    def test_a_trust_domain_vouches_for_the_spiffe_ids_in_it(self):
        security = make.acting(make.person("security"))
        early = make.agent(spiffe_id="spiffe://corp.test/agents/early")
        other = make.agent(spiffe_id="spiffe://corp.test.evil/agents/other")
        domain = services.register_issuer(actor=security, name="Corp", kind="spiffe", uri="spiffe://corp.test")
        late = make.agent(spiffe_id="spiffe://corp.test/agents/late")
        assert set(domain.agents.values_list("pk", flat=True)) == {early.pk, late.pk}
        assert Agent.objects.get(pk=other.pk).issuer is None
        # It follows the id, and nobody chooses it against the id.
        moved = services.update_agent(
            actor=make.acting(late.owner), agent=late, spiffe_id="spiffe://elsewhere.test/late", issuer=domain
        )
        assert moved.issuer is None

    def test_the_domain_of_the_own_team_comes_before_everybodys(self):
        security = make.acting(make.person("security"))
        common = services.register_issuer(actor=security, name="All", kind="spiffe", uri="spiffe://corp.test")
        agent = make.agent(spiffe_id="spiffe://corp.test/agents/a")
        assert agent.issuer == common
        team = make.team()
        own = services.register_issuer(actor=security, name="Own", kind="spiffe", uri="spiffe://corp.test", team=team)
        theirs = make.agent(spiffe_id="spiffe://corp.test/agents/b", team=team)
        assert (theirs.issuer, Agent.objects.get(pk=agent.pk).issuer) == (own, common)

    def test_a_chosen_issuer_stays_beside_a_spiffe_id(self):
        security = make.acting(make.person("security"))
        services.register_issuer(actor=security, name="All", kind="spiffe", uri="spiffe://corp.test")
        chosen = make.issuer()
        agent = make.agent(spiffe_id="spiffe://corp.test/agents/a", issuer=chosen, client_id="a")
        assert agent.issuer == chosen


class TestDuplicates:
    def test_the_same_endpoint_elsewhere_is_shown(self):
        first = make.draft(endpoints=[{"url": "https://mcp.example.test/mcp"}])
        second = make.draft(endpoints=[{"url": "https://MCP.example.test/mcp/"}])
        assert list(duplicates(second, make.acting(make.person()))) == [first]


class TestImporting:
    FACTS = {
        "name": "com.example/imported",
        "title": "Imported",
        "endpoints": [{"url": "https://a.example.test/mcp"}],
        "tools": [{"name": "look", "claimed_class": "read"}],
        "source": "a.json",
    }

    def act(self, digest="1" * 64, **facts):
        return services.import_server(actor=make.acting(make.person()), digest=digest, **(self.FACTS | facts))

    def test_a_new_entry_becomes_a_draft_and_the_same_again_changes_nothing(self):
        outcome, server, _ = self.act()
        assert (outcome, server.lifecycle, server.owner) == ("imported", "draft", None)
        version = server.version
        outcome, server, reasons = self.act()
        assert (outcome, reasons, server.version) == ("skipped", ["unchanged"], version)

    def test_a_changed_entry_updates_a_draft_nobody_works_on(self):
        self.act()
        outcome, server, _ = self.act(digest="2" * 64, title="New", tools=[])
        assert (outcome, server.title, server.tools.filter(retired_at=None).count()) == ("updated", "New", 0)

    def test_what_people_approved_or_work_on_is_left_alone(self):
        active = make.active_server()
        outcome, _, reasons = self.act(name=active.name)
        assert (outcome, reasons) == ("skipped", ["is active; change it in the registry"])
        by_hand = make.draft()
        assert self.act(name=by_hand.name)[0] == "skipped"


class TestNoSecretIsKept:
    def test_every_text_of_every_act_is_scanned(self):
        """One secret through each door; none gets in."""
        server = make.complete_draft()
        by = make.acting(server.owner)
        doors = {
            "title": lambda: services.update_identity(actor=by, server=server, title=AWS_KEY),
            "purpose": lambda: services.set_purpose(
                actor=by,
                server=server,
                statement="Fine",
                in_scope=[AWS_KEY],
                out_of_scope=[],
                data_classes=["internal"],
                ends_on=clock.today() + timedelta(days=9),
            ),
            "tool": lambda: services.set_tools(
                actor=by, server=server, tools=[{"name": "a", "definition": {"inputSchema": {"default": AWS_KEY}}}]
            ),
            "secret": lambda: services.set_secret_sources(
                actor=by,
                server=server,
                sources=[{"kind": "none", "reason": f"It is {AWS_KEY}"}],
            ),
            "step": lambda: services.set_revocation_path(
                actor=by,
                server=server,
                steps=[{"instruction": f"Delete {AWS_KEY}", "responsible": "x", "expected_minutes": 1}],
            ),
            "endpoint": lambda: services.set_endpoints(
                actor=by, server=server, endpoints=[{"url": f"https://a.test/?token={AWS_KEY}"}]
            ),
            "system": lambda: make.system(description=AWS_KEY),
            "agent": lambda: make.agent(description=AWS_KEY),
            "reason": lambda: services.retire_server(actor=by, server=server, reason=AWS_KEY),
        }
        for door, act in doors.items():
            with pytest.raises(SecretRefused):
                act()
                pytest.fail(f"{door} let a secret in")
        assert not SecretSource.objects.filter(reason__contains=AWS_KEY).exists()
        assert not Event.objects.filter(data__icontains=AWS_KEY).exists()


class TestSearch:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("warehouse", True),
            ("ware sql", True),
            ("acme", True),
            ("db_tool", True),
            ("TOOL", True),
            ("stock", True),
            ("house", False),
            ("acme postgres", False),
            ("'", False),
            ("a' | 'b:*", False),
            ("", True),
        ],
    )
    def test_every_word_begins_a_word_of_name_title_or_description(self, text, found):
        make.draft(name="io.github.acme/db_tool", title="Warehouse SQL", description="Stock questions.")
        assert Server.objects.all().matching(text).exists() is found

    def test_the_index_answers_not_a_scan(self):
        make.draft()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        assert "server_search" in Server.objects.all().matching("warehouse").order_by().explain()


class TestOperator:
    def assign(self, server, actor, **facts):
        people = {"owner": server.owner, "deputy": server.deputy, "team": server.team}
        return services.assign_people(actor=actor, server=server, **(people | facts))

    def test_is_named_kept_and_taken_away(self):
        server, runner = make.complete_draft(), make.person()
        by = make.acting(server.owner)
        assert self.assign(server, by, operator=runner).operator == runner
        assert self.assign(server, by).operator == runner, "not given: left as it is"
        assert Event.objects.filter(act="server.people_assigned").latest("at").data["after"]["operator"] == str(
            runner.pk
        )
        assert self.assign(server, by, operator=None).operator is None

    def test_is_somebody_active_besides_owner_and_deputy(self):
        server = make.complete_draft()
        for wrong in (server.owner, server.deputy, make.person(active=False)):
            with pytest.raises(Invalid) as refused:
                self.assign(server, make.acting(server.owner), operator=wrong)
            assert set(refused.value.fields) == {"operator"}

    def test_may_not_decide_and_sees_what_they_run(self):
        runner = make.person("reviewer")
        server = make.complete_draft(confidential=True)
        by = make.acting(server.owner)
        assert not type(server).objects.visible_to(make.acting(runner)).filter(pk=server.pk).exists()
        self.assign(server, by, operator=runner)
        assert type(server).objects.visible_to(make.acting(runner)).filter(pk=server.pk).exists()
        services.submit_server(actor=by, server=server)
        with pytest.raises(NotIndependent) as refused:
            services.activate_server(actor=make.acting(runner), server=server)
        assert "operates the server" in str(refused.value)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "url", ["http://[::1", "https://a:99999/", "https:///x", "https://a b/", "https://%00.test/", "https://a:0/mcp"]
)
def test_an_address_that_nobody_could_call_is_refused(api, url):
    owner = make.person()
    facts = {"name": "com.example/odd", "endpoints": [{"url": url, "transport": "streamable-http"}]}
    answer = api(owner).post("/api/v1/servers", facts)
    assert answer.status_code == 422, answer.content
    assert "endpoints.0.url" in answer.json()["errors"] or "url" in str(answer.json())
