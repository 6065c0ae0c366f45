"""The demo is made by the same acts as everything else, so it must obey the same rules."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client, TransactionTestCase
from django.urls import reverse
from django.utils import timezone

from registry.accounts.demo import DEMO_ACCOUNTS
from registry.accounts.models import User
from registry.audit.models import Event
from registry.audit.queries import verify_log
from registry.catalog.models import Agent, SecretSource, Server, System
from registry.core.actors import Actor
from registry.core.independence import bars
from registry.discovery.models import Drift, ImportJob, Publication, RegistrySource, Shadow, Sighting, Snapshot, Watch
from registry.discovery.secret_states import sources_visible_to
from registry.portal.demo.reading import read
from registry.reviews.models import Campaign, Certificate, Decision, Item, Remediation
from registry.trust import queries as trust
from registry.trust.models import Connection, Grant
from tests.factories import person


def test_the_story_grants_only_tools_that_the_servers_list():
    listed = {plan["key"]: {name for name, _ in plan["tools"]} for plan in read("servers")}
    for name, _, _, _, calls, *_more in read("agents"):
        for key, tools in calls.items():
            assert tools == "*" or set(tools) <= listed[key], (name, key)


def test_what_is_told_of_servers_is_about_servers_of_the_story():
    plans = {plan["key"]: plan for plan in read("servers")}
    looks = read("looks")
    for key, said in (looks["packages"] | looks["remote"]).items():
        remote = plans[key]["endpoint"].startswith("https://")
        assert remote == (key in looks["remote"]), key
        assert set(said.get("tools", {})) in (set(), {name for name, _ in plans[key]["tools"]}), key
    for key in looks["secrets"] | looks["attested"]:
        assert plans[key]["secret"]["kind"] != "none"


def test_the_story_names_only_people_and_teams_there_are():
    organisation = read("organisation")
    people = {row[0] for row in organisation["people"]}
    teams = {row[0] for row in organisation["teams"]}
    assert {account.email.partition("@")[0] for account in DEMO_ACCOUNTS} <= people
    for plan in read("servers"):
        assert {plan["owner"], plan["deputy"]} <= people
        assert plan["team"] in teams
        assert plan["owner"] != plan["deputy"]


@pytest.mark.django_db
def test_only_where_everybody_may_know_its_password(settings):
    settings.EMBEDDED = False
    with pytest.raises(CommandError, match="embedded profile only"):
        call_command("demo")
    assert not User.objects.exists()


@pytest.mark.django_db
def test_it_leaves_what_is_there_alone():
    somebody = person()
    call_command("demo", if_empty=True)
    assert list(User.objects.all()) == [somebody]
    with pytest.raises(CommandError, match="--reset"):
        call_command("demo")


# --- The whole story, told once for this module ----------------------------------------------------------


@pytest.fixture(scope="module")
def told(django_db_setup, django_db_blocker):
    """What the command printed; its data is there for all tests below, and gone afterwards."""
    out = StringIO()
    with django_db_blocker.unblock():
        call_command("demo", stdout=out)
        yield out.getvalue()
        TransactionTestCase()._fixture_teardown()


@pytest.fixture
def security(told, db):
    return User.objects.get(email="security@example.org")


@pytest.fixture
def asked(security):
    return trust.ask(Actor.person(security))


@pytest.fixture
def page(security):
    client = Client()
    client.force_login(security, backend="django.contrib.auth.backends.ModelBackend")

    def get(name, *args, **query):
        answer = client.get(reverse(name, args=args), query)
        assert answer.status_code == 200, name
        return answer.content.decode()

    return get


def server(key):
    return Server.objects.get(name=next(plan["name"] for plan in read("servers") if plan["key"] == key))


@pytest.mark.django_db
def test_the_demo_shows_every_state_and_breaks_no_rule(told):
    now = timezone.now()
    assert "49 servers, 68 agents, 25 systems" in told

    # Every page has something to show.
    assert Server.objects.count() == 49 and Agent.objects.count() == 68 and System.objects.count() == 25
    assert set(Server.objects.values_list("lifecycle", flat=True)) == {
        "draft", "submitted", "active", "suspended", "retired",
    }  # fmt: skip
    assert {"requested", "active", "suspended", "reduced", "revoked", "expired", "refused"} <= set(
        Grant.objects.values_list("status", flat=True)
    )
    periodic = Campaign.objects.filter(kind="periodic")
    assert sorted(periodic.values_list("state", flat=True)) == ["active", "completed"]
    assert Campaign.objects.filter(kind="intake", state="active").count() == 2
    assert Item.objects.filter(campaign__state="active", state="in_review").exists()
    assert not Remediation.objects.exclude(state="verified").exists()

    # One server per trouble.
    assert Server.objects.filter(lifecycle="draft", deputy=None).exists()
    assert Server.objects.filter(lifecycle="draft", lifecycle_reason__gt="").exists()
    assert Server.objects.filter(lifecycle="active", certified_until__lt=now).exists()
    assert Server.objects.filter(confidential=True, lifecycle="active").exists()
    assert SecretSource.objects.filter(last_rotated_on=(now - timedelta(days=412)).date()).exists()
    assert Grant.objects.filter(status="active", all_tools=True).exists()
    assert Connection.objects.filter(status="active", access="write", system__data_class="confidential").exists()

    # And it is all true: nobody decided on their own, certificates rest on signatures, the chain holds.
    for relationship in [*Grant.objects.exclude(decided_by=None), *Connection.objects.exclude(decided_by=None)]:
        assert bars(relationship.decided_by_id, relationship) == [], relationship
    for decision in Decision.objects.exclude(signed_at=None).select_related("work_item__item"):
        assert bars(decision.work_item.reviewer_id, decision.work_item.item) == [], decision
    assert not Certificate.objects.filter(decision__signed_at=None).exists()
    assert all(server.purpose and server.deputy_id for server in Server.objects.filter(lifecycle="active"))
    assert Event.objects.filter(at__lt=now - timedelta(days=300)).exists()
    assert not Event.objects.filter(at__gt=timezone.now()).exists()
    assert verify_log().verified

    again = StringIO()
    call_command("demo", if_empty=True, stdout=again)
    assert again.getvalue() == "" and Server.objects.count() == 49


# --- What is out there -----------------------------------------------------------------------------------


def test_looks_of_several_kinds_say_that_they_are_told(told, db):
    assert {"listed", "protected", "sse_only", "unreachable"} <= set(Snapshot.objects.values_list("outcome", flat=True))
    assert {"probe", "command"} == set(Snapshot.objects.values_list("channel", flat=True))
    assert not Snapshot.objects.exclude(detail__icontains="told by the demo data").exists()
    assert Snapshot.objects.filter(probe__requested_by__isnull=False).exists()


def test_the_clock_asks_nobody_during_a_first_visit(told, db):
    retried = {"unreachable"}
    due = Watch.objects.filter(due_at__lt=timezone.now() + timedelta(hours=6)).exclude(last__outcome__in=retried)
    assert not due.exists()


def test_a_drift_that_matters_and_a_typo(told, page):
    drift = Drift.objects.get(server=server("notion"), state="open")
    assert drift.severity == "high"
    assert "`API-create-a-data-source` is new and not read-only" in {each["sentence"] for each in drift.differences}
    assert server("notion").certified_until is None
    assert Campaign.objects.filter(kind="micro", items__server=server("notion")).exists()
    typo = Drift.objects.get(server=server("exa"), state="open")
    assert typo.severity == "low"
    shown = page("discovery:drifts")
    assert "Notion" in shown and "Exa" in shown


def test_an_unstable_definition_is_no_drift(told, db):
    watch = Watch.objects.get(server=server("sqlite"))
    assert watch.stability == "unstable" and watch.unstable_paths
    assert not Drift.objects.filter(server=server("sqlite")).exists()
    assert Watch.objects.filter(stability="stable").exists()


def test_poisoning_signs_are_found_in_the_invented_server_only(told, db):
    rules = {sign["rule"] for sign in Snapshot.objects.filter(server=server("tariffs")).latest("id").signs}
    assert {"markup", "secrecy", "invisible", "files", "conversation", "lookalike"} <= rules
    assert server("tariffs").lifecycle == "draft"


def test_shadows_were_seen_at_several_places_and_settled(told, page):
    states = Shadow.objects.values_list("state", flat=True)
    assert {"open", "linked", "ignored"} <= set(states)
    linear = Shadow.objects.get(canonical_uri__endswith="mcp.linear.app/mcp")
    assert linear.sightings.values("place").distinct().count() >= 4
    assert linear.last_seen - linear.first_seen > timedelta(days=30)
    ignored = Shadow.objects.get(state="ignored")
    assert ignored.reason and ignored.ignored_until > timezone.now().date()
    assert Shadow.objects.get(state="linked").server == server("notion")
    assert Sighting.objects.filter(server=server("playwright")).exists()
    # A key in a configuration is a finding, and its value is nowhere.
    assert Sighting.objects.with_secrets().exists()
    assert ImportJob.objects.filter(state="finished").count() == 2
    assert not any("7c1e94b0d2fa" in str(row) for row in Sighting.objects.values())
    assert "mcp.linear.app" in page("discovery:shadows")


def test_secret_sources_are_verified_attested_stale_and_missing(security, page):
    found = set(sources_visible_to(Actor.person(security)).values_list("state", flat=True))
    assert {"verified", "attested", "stale", "not_found", "deleted", "cannot_check"} <= found
    assert "prod/mcp/pulumi" in page("discovery:secret_sources")


def test_the_first_page_of_security_names_what_was_found(page):
    shown = page("portal:home")
    assert "2 servers list something else than was approved" in shown
    assert "shadow servers that nobody answers for" in shown
    assert "2 secrets are not where the catalog says" in shown


def test_another_registry_is_followed(told, page):
    source = RegistrySource.objects.get()
    assert source.finished_at and source.state == "idle" and source.due_at > timezone.now() + timedelta(days=6)
    assert source.entries.filter(status="deleted").count() == 1
    assert Event.objects.filter(act="server.deleted_elsewhere").exists()
    assert "Nordhafen" in page("discovery:registries")


def test_what_is_published_and_why_something_is_not(told, page):
    assert Publication.objects.filter(status="active").count() > 20
    assert Publication.objects.filter(status="deleted").exists()
    assert Publication.objects.filter(server=server("redis"), status="active").exists()
    assert not Publication.objects.filter(server=server("notion"), status="active").exists()
    for key in ("redis", "notion"):
        page("discovery:published_panel", server(key).pk)


# --- Who reaches what ------------------------------------------------------------------------------------


def test_a_chain_leads_through_the_gateway(asked):
    companion = Agent.objects.get(name="Desk companion")
    tickets = System.objects.get(name="Service desk")
    paths = asked.paths(from_=("agent", companion.pk), to=("system", tickets.pk))
    assert [path.hops for path in paths.paths] == [3]


def test_one_secret_opens_several_servers(asked):
    shared = asked.shared_secrets()
    assert shared.counts == {"secrets": 1, "servers": 3}


def test_paths_cross_environments_and_tenants(asked):
    crossings = asked.crossings()
    assert crossings.counts["worst"] >= 1 and crossings.counts["tenant"] >= 2


def test_relationships_without_an_owner_without_use_and_without_a_grant(asked):
    assert asked.orphans().counts["grants"] == 1
    unused = asked.unused()
    assert unused.known and unused.counts["grants"] >= 3 and unused.counts["connections"] >= 1
    assert asked.sightings().counts["of_servers"] >= 2


def test_a_toxic_combination(asked):
    assert max(asked.combinations().counts.values()) >= 1
