"""Certificates as others read them: started only by a signature (invariant 9), and what a gateway is told."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.urls import reverse

from registry.accounts.models import User
from registry.catalog import services as catalog
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import NotAllowed
from registry.reviews import services as reviews
from registry.reviews.facts import collect, evidence_of
from registry.reviews.models import Certificate, Decision
from registry.reviews.services import certificates
from registry.reviews.services.certificates import Issue
from registry.trust import services as trust
from registry.trust.models import Grant
from tests import factories as make

pytestmark = pytest.mark.django_db
ROOT = "/api/v1"


@pytest.fixture
def reviewer() -> User:
    return make.person("reviewer", name="Rita Reviewer")


@pytest.fixture
def security() -> User:
    return make.person("security", name="Sol Security")


def certify(reviewer: User, *kinds: str, days: int | None = None):
    """Certify all of these kinds, for so many days or as long as the tier allows."""
    campaign = make.campaign(reviewer, kinds=list(kinds))
    box = {"value": "certify_until", "until": clock.today() + timedelta(days=days)} if days else {}
    for item in campaign.items.all():
        make.decide(item, **box)
    make.sign(campaign, reviewer)
    return campaign


@pytest.fixture
def certified(reviewer):
    """A server, its connection and a grant on it with its agent, all certified for three days."""
    server = make.active_server()
    grant, connection = make.grant(server=server), make.connection(server=server)
    certify(reviewer, "server", "grant", "connection", "agent", days=3)
    for thing in (server, grant, connection, grant.agent):
        thing.refresh_from_db()
    return {"server": server, "grant": grant, "connection": connection, "agent": grant.agent}


def until(thing):
    return type(thing).objects.values_list("certified_until", flat=True).get(pk=thing.pk)


# --- Invariant 9 -------------------------------------------------------------------------------------------


class TestOnlyASignature:
    def test_the_database_wants_a_signed_decision_that_keeps_something(self, reviewer):
        server = make.active_server()
        campaign = make.campaign(reviewer, kinds=["server"])
        draft = make.decide(campaign.items.get())
        facts = {"kind": "server", "server": server, "fingerprint": "0" * 64, "certified_until": clock.now()}
        with pytest.raises(DatabaseError, match="signed decision"), transaction.atomic():
            Certificate.objects.create(decision=draft, **facts)
        make.decide(campaign.items.get(), "revoke")
        make.sign(campaign, reviewer)
        with pytest.raises(DatabaseError, match="signed decision"), transaction.atomic():
            Certificate.objects.create(decision=Decision.objects.get(), **facts)

    def test_the_database_prolongs_none(self, certified):
        held = Certificate.objects.get(server=certified["server"], ended_at=None)
        for change in (
            {"certified_until": clock.now() + timedelta(days=999)},
            {"fingerprint": "f" * 64},
            {"decision": Decision.objects.exclude(pk=held.decision_id).first()},
        ):
            with pytest.raises(DatabaseError), transaction.atomic():
                Certificate.objects.filter(pk=held.pk).update(**change)
        with pytest.raises(DatabaseError), transaction.atomic():
            held.delete()

    def test_people_cannot_write_the_date_on_the_thing(self, certified):
        for role in ("administrator", "security", "reviewer"):
            actor = make.acting(make.person(role))
            with pytest.raises(NotAllowed):
                catalog.set_certified_until(actor=actor, thing=certified["server"], until=clock.now())
            with pytest.raises(NotAllowed):
                catalog.set_certified_until_of(actor=actor, model=type(certified["agent"]), until={})
            with pytest.raises(NotAllowed):
                trust.set_certified_until(actor=actor, relationship=certified["grant"], until=clock.now())
            with pytest.raises(NotAllowed):
                trust.set_certified_until_of(actor=actor, model=Grant, until={})

    def test_nothing_else_extends_it(self, certified, reviewer, security):
        """Editing, re-approving, importing, suspending and resuming: none of them moves the date forward."""
        server, grant, connection, agent = (certified[kind] for kind in ("server", "grant", "connection", "agent"))
        before = {thing.pk: until(thing) for thing in certified.values()}
        by = make.acting(server.owner)

        catalog.update_identity(actor=by, server=server, description="Now with a better text.")
        catalog.update_agent(actor=make.acting(agent.owner), agent=agent, description="Another text.")
        server.secret_sources.update(last_rotated_on=clock.today())
        for thing in (grant, connection):
            trust.suspend_relationship(actor=make.acting(security), relationship=thing, reason="Odd calls")
            trust.resume_relationship(actor=make.acting(security), relationship=thing, reason="Explained")
        catalog.suspend_server(actor=by, server=server, reason="Maintenance")
        catalog.resume_server(actor=make.acting(security), server=server, reason="Done")
        reviews.sweep_items()
        reviews.end_stale_certificates()
        after = {thing.pk: until(thing) for thing in certified.values()}
        assert after == before

        remote = {"type": "streamable-http", "url": server.endpoints.get(retired_at=None).url}
        entry = {"name": server.name, "description": "Imported", "version": "9.9.9", "remotes": [remote]}
        make.import_job(entry, requested_by=server.owner)
        reviews.end_stale_certificates()
        assert (until(server) or before[server.pk]) == before[server.pk], "importing is not certifying"

        again = make.grant(server=server, agent=agent)
        assert until(again) is None, "approving is not certifying"
        assert not Certificate.objects.filter(grant=again).exists()
        with clock.at(before[connection.pk] + timedelta(seconds=1)):
            reviews.end_stale_certificates()
            trust.expire_due(now=clock.now())
        for thing in certified.values():
            assert until(thing) is None or until(thing) <= before[thing.pk]

    def test_a_lapsed_one_is_renewed_by_nothing_but_a_review(self, certified, reviewer):
        server = certified["server"]
        with clock.at(until(server) + timedelta(seconds=1)):
            reviews.end_stale_certificates()
            catalog.update_identity(actor=make.acting(server.owner), server=server, description="Still there.")
            assert not Certificate.objects.filter(server=server, ended_at=None).exists()
            assert until(server) <= clock.now()
            certify(reviewer, "server")
            assert until(server) > clock.now()

    def test_a_newer_one_takes_the_place_of_the_older(self, certified, reviewer):
        first = Certificate.objects.get(server=certified["server"], ended_at=None)
        certify(reviewer, "server")
        first.refresh_from_db()
        assert first.ended_because == "A newer certificate took its place."
        assert Certificate.objects.filter(server=certified["server"], ended_at=None).count() == 1

    def test_many_at_once_cost_as_many_statements_as_one(self, reviewer, django_assert_max_num_queries):
        server = make.active_server()
        grants = make.many_grants(server, 30)
        certify(reviewer, "server")
        decision = Decision.objects.get()
        evidence = collect("grant", [grant.pk for grant in grants]).values()
        end = clock.now() + timedelta(days=9)
        issues = [Issue("grant", each, end, decision) for each in evidence]
        with django_assert_max_num_queries(10), transaction.atomic():
            made = certificates.issue_all(Actor.system("tests"), issues)
        assert len(made) == Certificate.objects.filter(kind="grant", ended_at=None).count() == 30
        assert {until(grant) for grant in grants} == {end}
        with django_assert_max_num_queries(13), transaction.atomic():
            certificates.issue_all(Actor.system("tests"), issues)
        assert Certificate.objects.filter(kind="grant", ended_at=None).count() == 30


# --- What a gateway reads ----------------------------------------------------------------------------------


class TestGateways:
    @pytest.mark.parametrize("kind", ["server", "grant", "connection", "agent"])
    def test_each_kind_by_the_id_of_the_subject(self, certified, api, kind):
        thing = certified[kind]
        answer = api(make.person()).get(f"{ROOT}/certificates/{thing.pk}")
        assert answer.status_code == 200
        body = answer.json()
        assert (body["kind"], body["subject"], body["certified"], body["because"]) == (kind, str(thing.pk), True, "")
        assert body["fingerprint"] == body["present_fingerprint"] == evidence_of(thing).fingerprint
        assert body["fingerprint_matches"] is True
        assert body["certified_until"].startswith(until(thing).isoformat()[:19])

    def test_a_change_shows_at_once_before_any_sweep(self, certified, api):
        server = certified["server"]
        catalog.set_tools(
            actor=make.acting(server.owner),
            server=server,
            tools=[{"name": "query", "description": "Runs anything.", "confirmed_class": "execute"}],
        )
        body = api(make.person()).get(f"{ROOT}/certificates/{server.pk}").json()
        assert (body["certified"], body["fingerprint_matches"], body["ended_at"]) == (False, False, None)
        assert body["because"] == "The certified facts changed."
        reviews.end_stale_certificates()
        body = api(make.person()).get(f"{ROOT}/certificates/{server.pk}").json()
        assert (body["certified"], body["ended_because"]) == (False, "The certified facts changed.")

    def test_suspended_and_lapsed_are_not_certified_though_the_certificate_stands(self, certified, api, security):
        client = api(make.person())
        grant = certified["grant"]
        trust.suspend_relationship(actor=make.acting(security), relationship=grant, reason="Odd calls")
        body = client.get(f"{ROOT}/certificates/{grant.pk}").json()
        assert (body["certified"], body["because"], body["ended_at"]) == (False, "It is suspended.", None)
        trust.resume_relationship(actor=make.acting(security), relationship=grant, reason="Explained")
        assert client.get(f"{ROOT}/certificates/{grant.pk}").json()["certified"] is True
        with clock.at(until(certified["server"]) + timedelta(seconds=1)):
            body = client.get(f"{ROOT}/certificates/{certified['server'].pk}").json()
            assert (body["certified"], body["because"]) == (False, "Its time was over.")

    def test_the_last_one_when_none_is_valid_and_404_when_there_never_was(self, certified, api, reviewer):
        client = api(make.person())
        assert client.get(f"{ROOT}/certificates/{make.agent().pk}").status_code == 404
        grant = certified["grant"]
        campaign = make.campaign(reviewer, kinds=["grant"])
        make.decide(campaign.items.get(), "revoke")
        make.sign(campaign, reviewer)
        body = client.get(f"{ROOT}/certificates/{grant.pk}").json()
        assert (body["certified"], body["ended_because"]) == (False, "A review revoked it.")

    def test_what_one_may_not_see_is_not_there(self, reviewer, api):
        server = make.active_server(confidential=True)
        certify(reviewer, "server")
        assert api(make.person()).get(f"{ROOT}/certificates/{server.pk}").status_code == 404
        assert api(make.person("security")).get(f"{ROOT}/certificates/{server.pk}").status_code == 200
        assert api().get(f"{ROOT}/certificates/{server.pk}").status_code == 401

    def test_asking_again_with_the_etag(self, certified, api, security):
        client, grant = api(make.person()), certified["grant"]
        first = client.get(f"{ROOT}/certificates/{grant.pk}")
        assert first["Cache-Control"] == "private, max-age=15, must-revalidate"
        assert "Authorization" in first["Vary"]
        again = client.get(f"{ROOT}/certificates/{grant.pk}", HTTP_IF_NONE_MATCH=first["ETag"])
        assert (again.status_code, again.content) == (304, b"")
        assert again["ETag"] == first["ETag"]
        trust.suspend_relationship(actor=make.acting(security), relationship=grant, reason="Odd calls")
        changed = client.get(f"{ROOT}/certificates/{grant.pk}", HTTP_IF_NONE_MATCH=first["ETag"])
        assert (changed.status_code, changed.json()["certified"]) == (200, False)
        assert changed["ETag"] != first["ETag"]

    def test_nobody_keeps_an_answer_beyond_the_end(self, certified, api):
        server = certified["server"]
        with clock.at(until(server) - timedelta(seconds=4)):
            answer = api(make.person()).get(f"{ROOT}/certificates/{server.pk}")
        assert answer["Cache-Control"] == "private, max-age=4, must-revalidate"

    def test_lists_by_kind_subject_and_validity(self, certified, api, reviewer):
        client, server = api(make.person()), certified["server"]

        def found(**query):
            return {row["subject"] for row in client.get(f"{ROOT}/certificates", query).json()["results"]}

        assert found(kind="agent") == {str(certified["agent"].pk)}
        assert found(subject=server.pk) == {str(server.pk)}
        assert found(valid="true") == {str(thing.pk) for thing in certified.values()}
        assert found(valid="false") == set()
        with clock.at(until(server) + timedelta(seconds=1)):
            assert str(server.pk) in found(valid="false"), "lapsed is not valid, whether the sweep has passed or not"

    @pytest.mark.parametrize(("state", "expected"), [("active", True), ("suspended", False), ("lapsed", False)])
    def test_trust_relationships_say_who_is_certified(self, certified, api, security, state, expected):
        client, grant = api(make.person()), certified["grant"]
        at = clock.now()
        if state == "suspended":
            trust.suspend_relationship(actor=make.acting(security), relationship=grant, reason="Odd calls")
        if state == "lapsed":
            at = until(grant) + timedelta(seconds=1)
        with clock.at(at):
            rows = {
                certified_too: {row["id"]: row for row in client.get(
                    f"{ROOT}/trust/relationships", {"certified": certified_too}
                ).json()["results"]}
                for certified_too in ("true", "false")
            }  # fmt: skip
        assert (str(grant.pk) in rows["true"], str(grant.pk) in rows["false"]) == (expected, not expected)
        row = rows["true" if expected else "false"][str(grant.pk)]
        assert row["certified"] is expected
        assert row["agent"]["certified"] is row["server"]["certified"] is (state != "lapsed")

    @pytest.mark.parametrize("end", ["server", "agent", "system"])
    def test_what_rests_on_a_suspended_or_retired_end_is_not_certified(self, certified, api, security, end):
        by, client = make.acting(security), api(make.person())
        grant, connection = certified["grant"], certified["connection"]
        told = {
            "server": [grant, connection],
            "agent": [grant],
            "system": [connection],
        }[end]
        match end:
            case "server":
                catalog.suspend_server(actor=by, server=certified["server"], reason="Incident")
            case "agent":
                catalog.retire_agent(actor=make.acting(grant.agent.owner), agent=grant.agent, reason="Gone")
            case "system":
                system = connection.system
                catalog.retire_system(actor=make.acting(system.owner), system=system, reason="Switched off")
        rows = {
            certified_too: {row["id"] for row in client.get(
                f"{ROOT}/trust/relationships", {"certified": certified_too}
            ).json()["results"]}
            for certified_too in ("true", "false")
        }  # fmt: skip
        for relationship in told:
            assert str(relationship.pk) in rows["false"] - rows["true"]
            body = client.get(f"{ROOT}/certificates/{relationship.pk}").json()
            assert body["certified"] is False
            assert body["because"]
            detail = client.get(f"{ROOT}/{relationship.kind}s/{relationship.pk}").json()
            assert detail["certified"] is False
        for relationship in {grant, connection} - set(told):
            assert str(relationship.pk) in rows["true"]

    def test_the_ends_of_a_relationship_speak_for_themselves(self, certified, api, security):
        catalog.suspend_server(actor=make.acting(security), server=certified["server"], reason="Incident")
        rows = api(make.person()).get(f"{ROOT}/trust/relationships").json()["results"]
        by_kind = {row["kind"]: row for row in rows}
        assert {row["server"]["certified"] for row in rows} == {False}
        assert by_kind["grant"]["agent"]["certified"] is True
        assert by_kind["connection"]["agent"] is None
        agent = api(make.person()).get(f"{ROOT}/agents/{certified['agent'].pk}").json()
        assert agent["certified_until"]


class TestPages:
    def test_the_list_names_agents_and_says_why_one_ended(self, certified, web, reviewer):
        server = certified["server"]
        catalog.set_tools(
            actor=make.acting(server.owner),
            server=server,
            tools=[{"name": "query", "description": "Runs anything.", "confirmed_class": "execute"}],
        )
        reviews.end_stale_certificates()
        page = web(make.person()).get(reverse("reviews:certificates")).text
        assert reverse("catalog:agent", args=[certified["agent"].pk]) in page
        assert "The certified facts changed." in page

    def test_the_list_costs_the_same_for_one_and_for_many(
        self, certified, web, reviewer, django_assert_max_num_queries
    ):
        client = web(make.person())
        client.get(reverse("reviews:certificates"))
        with django_assert_max_num_queries(12):
            client.get(reverse("reviews:certificates"))

    def test_the_panels_of_server_and_agent(self, certified, web, reviewer):
        client = web(make.person())
        page = client.get(reverse("reviews:server_panel", args=[certified["server"].pk])).text
        assert "Certified until" in page
        assert certified["agent"].name in page
        page = client.get(reverse("reviews:agent_panel", args=[certified["agent"].pk])).text
        assert "Certified until" in page
        assert certified["server"].label in page
        campaign = make.campaign(reviewer, kinds=["agent"])
        make.decide(campaign.items.get(), "revoke")
        make.sign(campaign, reviewer)
        page = client.get(reverse("reviews:agent_panel", args=[certified["agent"].pk])).text
        assert "A review revoked it." in page
