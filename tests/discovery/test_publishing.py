"""What is published follows what is true: approved now, told in versions that never change, withdrawn with a reason."""

import json
from datetime import timedelta
from unittest import mock

import jsonschema
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bench.population import many_servers
from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.catalog.models import Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import NotAllowed, NotSignedIn
from registry.discovery import publications, services, tasks
from registry.discovery.models import Publication
from tests import factories as make
from tests.discovery import shapes

pytestmark = pytest.mark.django_db
BY = make.SYSTEM_ACTOR


def publish(*servers: Server):
    return services.publish_servers(actor=BY, server_ids=[server.pk for server in servers])


def told(server: Server) -> list[tuple[str, str, bool]]:
    rows = Publication.objects.filter(server=server).order_by("published_at", "pk")
    return [(row.release, row.status, row.is_latest) for row in rows]


def edit(server: Server, **facts) -> Server:
    """A change by its owner, recertified at once."""
    catalog.update_identity(actor=make.acting(server.owner), server=server, **facts)
    server.refresh_from_db()
    return server


# --- Whether ---------------------------------------------------------------------------------------------


def test_only_what_is_active_and_certified_is_published():
    for server in (make.draft(), make.submitted_server(), make.active_server()):
        assert not publish(server)
    server = make.active_server(release="1.2.0")
    make.certify(server)
    assert told(server) == [("1.2.0", "active", True)]
    assert Publication.objects.count() == 1


def test_an_obstacle_is_named_exactly_when_the_database_would_not_publish():
    now = clock.now()
    servers = [make.draft(), make.submitted_server(), make.active_server(), make.published_server()]
    for change in (
        {"confidential": True},
        {"quarantined_at": now},
        {"lifecycle": "suspended"},
        {"lifecycle": "retired"},
        {"certified_until": now},
        {"certified_until": None},
    ):
        server = make.published_server()
        Server.objects.filter(pk=server.pk).update(**change)
        servers.append(server)
    publishable = set(Server.objects.filter(publications.publishable(now)).values_list("pk", flat=True))
    assert len(publishable) == 1
    for server in servers:
        server.refresh_from_db()
        assert bool(publications.obstacle(server, now)) == (server.pk not in publishable), server.lifecycle


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lifecycle": "suspended"}, "Suspended."),
        ({"lifecycle": "retired"}, "Retired."),
        ({"certified_until": None}, "Not certified: no review has been signed off, or a fact changed since."),
    ],
)
def test_what_ends_becomes_a_tombstone_with_its_reason_and_may_come_back(change, message):
    server = make.published_server(release="2.0.0")
    before = Publication.objects.get()
    was = {name: getattr(server, name) for name in change}
    Server.objects.filter(pk=server.pk).update(**change)
    assert publish(server) == {"withdrawn": 1}
    gone = Publication.objects.get()
    assert (gone.status, gone.status_message, gone.is_latest) == ("deleted", message, True)
    assert gone.body == before.body
    assert gone.updated_at > before.updated_at
    assert publish(server) == {}  # a tombstone does not die again

    Server.objects.filter(pk=server.pk).update(**was)
    assert publish(server) == {"published": 1}
    again = Publication.objects.get()
    assert (again.pk, again.status, again.status_message) == (before.pk, "active", "")


def test_certification_that_ends_by_the_clock_is_found_by_the_sweep():
    server = make.published_server(days=1)
    assert services.sweep_publications(actor=BY) == {}
    with clock.at(clock.now() + timedelta(days=1, seconds=1)):
        assert services.sweep_publications(actor=BY) == {"withdrawn": 1}
        assert services.sweep_publications(actor=BY) == {}
    assert told(server) == [("0.0.0", "deleted", True)]
    event = Event.objects.get(act="server.unpublished")
    assert (event.subject_id, event.data["versions"]) == (server.pk, ["0.0.0"])


def test_the_sweep_finds_what_no_event_told_of():
    server = make.active_server(release="1.0.0")
    Server.objects.filter(pk=server.pk).update(certified_until=clock.now() + timedelta(days=9))
    assert services.sweep_publications(actor=BY) == {"published": 1}
    Server.objects.filter(pk=server.pk).update(certified_until=clock.now() + timedelta(days=8), tier="critical")
    assert services.sweep_publications(actor=BY) == {"updated": 1}
    assert Publication.objects.get().facts["tier"] == "critical"
    server.team.name = "Renamed"
    server.team.save()
    assert services.sweep_publications(actor=BY) == {}
    assert services.sweep_publications(actor=BY, everything=True) == {"updated": 1}
    assert Publication.objects.get().facts["ownerTeam"] == "Renamed"


def test_what_became_confidential_is_withdrawn_and_says_nothing_more():
    server = make.published_server(title="Merger desk", description="About the merger.", release="1.0.0")
    Server.objects.filter(pk=server.pk).update(confidential=True)
    services.sweep_publications(actor=BY)
    row = Publication.objects.get()
    assert (row.status, row.status_message, row.withheld, row.facts) == ("deleted", "Withdrawn.", True, {})
    assert row.body == {
        "$schema": row.body["$schema"], "name": server.name, "version": "1.0.0", "description": "Withdrawn.",
    }  # fmt: skip
    assert services.sweep_publications(actor=BY) == {}
    # Also what was a tombstone already.
    other = make.published_server(title="Second", release="1.0.0")
    make.certify(other, days=0)
    Server.objects.filter(pk=other.pk).update(confidential=True)
    services.sweep_publications(actor=BY)
    assert "title" not in Publication.objects.get(server=other).body
    # And back.
    Server.objects.filter(pk=server.pk).update(confidential=False)
    services.sweep_publications(actor=BY)
    row.refresh_from_db()
    assert (row.status, row.withheld, row.body["title"]) == ("active", False, "Merger desk")


# --- Versions --------------------------------------------------------------------------------------------


def test_a_new_release_supersedes_the_one_before():
    server = make.published_server(release="1.0.0")
    make.certify(edit(server, release="1.1.0"))
    assert told(server) == [("1.0.0", "deleted", False), ("1.1.0", "active", True)]
    assert Publication.objects.get(release="1.0.0").status_message == "Superseded by version 1.1.0."
    # Back to the release before: what is approved now is the latest, whatever its number.
    make.certify(edit(server, release="1.0.0"))
    assert told(server) == [("1.0.0", "active", True), ("1.1.0", "deleted", False)]


def test_other_content_under_the_same_release_gets_a_version_of_its_own():
    server = make.published_server(release="1.0.0", title="First")
    first = Publication.objects.get()
    make.certify(edit(server, title="Second"))
    assert told(server) == [("1.0.0", "deleted", False), ("1.0.0+2", "active", True)]
    assert Publication.objects.get(pk=first.pk).body == first.body
    assert Publication.objects.get(release="1.0.0+2").body["version"] == "1.0.0+2"
    make.certify(edit(server, title="Third"))
    make.certify(edit(server, title="First"))
    assert told(server) == [
        ("1.0.0", "active", True), ("1.0.0+2", "deleted", False), ("1.0.0+3", "deleted", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("", "0.0.0"),
        ("latest", "0.0.0"),
        ("^1.2", "0.0.0"),
        (">=1.0 <2", "0.0.0"),
        ("2026.8.31", "2026.8.31"),
        ("v1.0", "v1.0"),
        ("x" * 255, "x" * 240),
    ],
)
def test_a_release_that_is_no_version_gets_a_number(release, version):
    assert publications.numbered(release) == version


def test_build_metadata_is_joined_as_semantic_versioning_wants_it():
    assert publications.free_version("1.0.0", []) == "1.0.0"
    assert publications.free_version("1.0.0", ["1.0.0", "1.0.0+2"]) == "1.0.0+3"
    assert publications.free_version("1.0.0+build", ["1.0.0+build"]) == "1.0.0+build.2"


def test_a_later_end_is_told_under_the_same_version():
    server = make.published_server(release="1.0.0", days=10)
    before = Publication.objects.get()
    make.certify(server, days=50)
    after = Publication.objects.get()
    assert (after.pk, after.body, after.certified_until) == (before.pk, before.body, server.certified_until)
    assert after.facts["certifiedUntil"] == f"{server.certified_until:%Y-%m-%dT%H:%M:%SZ}"
    assert after.updated_at > before.updated_at
    assert after.status_changed_at == before.status_changed_at
    assert Event.objects.filter(act="server.published").count() == 1


def test_an_edit_that_clients_do_not_see_is_not_told():
    server = make.published_server()
    before = Publication.objects.get()
    Server.objects.filter(pk=server.pk).update(version=server.version + 5)
    assert services.sweep_publications(actor=BY) == {}
    after = Publication.objects.get()
    assert (after.updated_at, after.server_version) == (before.updated_at, server.version + 5)


# --- What is said ----------------------------------------------------------------------------------------


def test_facts_name_the_team_the_tier_and_approved_tools_and_nobody():
    server = make.published_server()
    facts = Publication.objects.get().facts
    tools = {tool.name: tool for tool in server.tools.all()}
    assert facts == {
        "ownerTeam": server.team.name,
        "environment": "production",
        "tier": server.tier,
        "purposeEndsOn": server.purpose.ends_on.isoformat(),
        "certifiedUntil": f"{server.certified_until:%Y-%m-%dT%H:%M:%SZ}",
        "approvedTools": [
            {"name": "export", "digest": f"sha256:{tools['export'].digest}", "class": "write"},
            {"name": "query", "digest": f"sha256:{tools['query'].digest}", "class": "read"},
        ],
    }
    said = json.dumps(facts) + json.dumps(Publication.objects.get().body)
    source = make.source_of(server)
    for secretive in (server.owner.name, server.owner.email, server.deputy.name, source.reference, "vault"):
        assert secretive not in said


def test_a_tool_that_is_not_approved_is_not_vouched_for():
    server = make.published_server()
    server.tools.filter(name="export").update(digest="f" * 64)
    services.sweep_publications(actor=BY, everything=True)
    assert [tool["name"] for tool in Publication.objects.get().facts["approvedTools"]] == ["query"]


def test_our_key_is_the_reversed_host(settings):
    settings.BASE_URL = "https://steward.example.org:8443"
    assert publications.meta_key() == "org.example.steward/governance"
    settings.BASE_URL = "http://127.0.0.1:8000"
    assert publications.meta_key() == "127.0.0.1/governance"


def test_every_body_meets_the_published_schema():
    """All that the real entries of the official registry become, put into service by force."""
    schema = json.loads((shapes.REAL / "server.schema.2025-12-11.constraints.json").read_text())
    real = json.loads((shapes.REAL / "seed_2025_05_16.even.json").read_text())
    real += [row["entry"] for row in json.loads((shapes.REAL / "server-json-current.json").read_text())]
    make.import_job(*real)
    Server.objects.update(lifecycle="draft", certified_until=clock.now() + timedelta(days=1))
    people = {"owner": make.person(), "deputy": make.person(), "owner_accepted_at": clock.now()}
    Server.objects.update(lifecycle="active", **people)
    services.sweep_publications(actor=BY)
    assert Publication.objects.count() > 150
    validator = jsonschema.Draft7Validator(schema)
    broken = {
        row.name: [error.message for error in validator.iter_errors(row.body)]
        for row in Publication.objects.all()
        if not validator.is_valid(row.body)
    }
    assert broken == {}


# --- Who, when, how much ---------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["member", "owner", "reviewer", "security", "administrator"])
def test_nobody_publishes_by_hand(role):
    server = make.active_server()
    person = server.owner if role == "owner" else make.person(role)
    with pytest.raises(NotAllowed):
        services.publish_servers(actor=make.acting(person), server_ids=[server.pk])
    with pytest.raises(NotAllowed):
        services.sweep_publications(actor=make.acting(person))


def test_strangers_publish_nothing():
    with pytest.raises(NotSignedIn):
        services.sweep_publications(actor=Actor.anonymous())


def test_changes_and_certificates_set_the_publisher_to_work(django_capture_on_commit_callbacks):
    server = make.active_server()
    with (
        mock.patch.object(tasks.follow_server, "delay") as one,
        mock.patch.object(tasks.sweep_publications, "delay") as sweep,
    ):
        with django_capture_on_commit_callbacks(execute=True):
            catalog.suspend_server(actor=make.acting(server.owner), server=server, reason="Broken.")
        one.assert_called_with(server_id=str(server.pk))
        with django_capture_on_commit_callbacks(execute=True):
            catalog.set_certified_until_of(actor=BY, model=Server, until={server.pk: clock.now() + timedelta(days=3)})
        sweep.assert_called_once_with()
    tasks.follow_server(server_id=str(server.pk))
    tasks.sweep_publications(everything=True)


def test_a_thousand_servers_take_as_many_statements_as_one():
    many_servers(30)
    until = clock.now() + timedelta(days=5)

    def statements(names: list[str]) -> int:
        Server.objects.filter(name__in=names).update(certified_until=until)
        with CaptureQueriesContext(connection) as asked:
            services.sweep_publications(actor=BY)
        return len(asked)

    names = list(Server.objects.order_by("name").values_list("name", flat=True))
    one, many = statements(names[:1]), statements(names[1:])
    assert Publication.objects.filter(status="active").count() == 30
    assert many == one <= 20
    Server.objects.update(certified_until=None)
    with CaptureQueriesContext(connection) as asked:
        assert services.sweep_publications(actor=BY) == {"withdrawn": 30}
    assert len(asked) <= 20
