"""Whole teams and environments keep their things confidential: by rules that hold for whoever writes a thing."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from registry.accounts.models import Team
from registry.audit.models import Event
from registry.catalog import services
from registry.catalog.models import Agent, Because, Server, System, VisibilityRule
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Changed, Conflict, Invalid, NotAllowed, NotSignedIn, SecretRefused, StepUpRequired
from registry.discovery import services as discovery
from registry.discovery import tasks as discovery_tasks
from registry.discovery.models import ImportResult, Publication
from registry.reviews import services as reviews
from registry.reviews import tasks as reviews_tasks
from tests import factories as make
from tests.security.test_races import at_once, meanwhile
from tests.security.urls import PATTERNS, parameters
from tests.trust.test_changes_feed import Follower, told_of

pytestmark = pytest.mark.django_db
ADMIN = Actor.system("tests")
WHY = "Salaries pass through it."


def said(thing: Any) -> tuple[bool, str]:
    """What the database holds, whatever the object in hand says."""
    return type(thing).objects.values_list("confidential", "confidential_because").get(pk=thing.pk)


def of_every_kind(team: Team | None = None, **facts: Any) -> list[Any]:
    """A server, a system and an agent of a team."""
    server = make.complete_draft(in_team=team, **facts)
    return [server, make.system(team=team, **facts), make.agent(team=team, **facts)]


OPEN, MARKED, BY_TEAM, BY_PLACE = (False, ""), (True, "marked"), (True, "team"), (True, "environment")


# --- What a thing is -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("marked", "team_ruled", "place_ruled"), list(product([False, True], repeat=3)))
def test_a_mark_goes_before_the_team_and_the_team_before_the_environment(
    marked: bool, team_ruled: bool, place_ruled: bool
) -> None:
    team = make.team()
    if team_ruled:
        make.visibility_rule(team)
    if place_ruled:
        make.visibility_rule(environment="staging")
    expected = MARKED if marked else BY_TEAM if team_ruled else BY_PLACE if place_ruled else OPEN
    facts = {"environment": "staging", "confidential": marked}
    for thing in (make.draft(**facts), make.system(team=team, **facts), make.agent(team=team, **facts)):
        if isinstance(thing, Server):
            services.assign_people(actor=ADMIN, server=thing, owner=None, deputy=None, team=team)
            thing.refresh_from_db()
        assert (thing.confidential, thing.confidential_because) == said(thing) == expected, type(thing)
    # Whoever writes past the services gets the same.
    (raw,) = System.objects.bulk_create(
        [System(name="Raw", kind="database", data_class="internal", team=team, **facts)]
    )
    assert said(raw) == expected
    System.objects.filter(pk=raw.pk).update(team=None, environment="test", confidential=False)
    assert said(raw) == OPEN
    System.objects.filter(pk=raw.pk).update(team=team, environment="staging")
    assert said(raw) == (BY_TEAM if team_ruled else BY_PLACE if place_ruled else OPEN)


def test_the_two_columns_cannot_disagree() -> None:
    thing = make.system()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE catalog_system DISABLE TRIGGER USER")
        for wrong in ("confidential = true", "confidential_because = 'team'"):
            with pytest.raises(IntegrityError, match="system_says_why_confidential"), transaction.atomic():
                cursor.execute(f"UPDATE catalog_system SET {wrong} WHERE id = %s", [thing.pk])  # noqa: S608
        cursor.execute("ALTER TABLE catalog_system ENABLE TRIGGER USER")


def test_an_object_from_before_the_rule_does_not_open_what_it_saves() -> None:
    team = make.team()
    stale = make.system(team=team)
    make.visibility_rule(team)
    stale.description = "Changed."
    stale.save()
    assert said(stale) == BY_TEAM


# --- Setting a rule --------------------------------------------------------------------------------------


def test_a_rule_makes_everything_of_the_team_confidential() -> None:
    team = make.team(name="Payments")
    things = [*of_every_kind(team), make.system(team=team, confidential=True)]
    elsewhere = make.system(team=make.team())
    security = make.person("security")
    before = {thing.pk: type(thing).objects.get(pk=thing.pk).version for thing in things}
    done = services.set_visibility_rule(actor=make.acting(security), team=team, reason=WHY)
    assert done.changed == {"server": 1, "system": 1, "agent": 1}
    assert [said(thing) for thing in things] == [BY_TEAM, BY_TEAM, BY_TEAM, MARKED]
    assert said(elsewhere) == OPEN
    moved = [type(thing).objects.get(pk=thing.pk).version - before[thing.pk] for thing in things]
    assert moved == [1, 1, 1, 0], "an open form is stale, except of what did not change"
    (event,) = Event.objects.filter(act="visibility_rule.set")
    assert event.subject_label == "Payments"
    assert event.actor_id == security.pk
    assert event.data["changed"] == done.changed
    assert event.data["reason"] == WHY
    told = Event.objects.filter(act__endswith=".visibility_changed")
    assert {each.subject_id for each in told} == {thing.pk for thing in things[:3]}
    assert told[0].data["before"] == {"confidential": False, "confidential_because": ""}
    assert told[0].data["after"] == {"confidential": True, "confidential_because": "team"}


def test_a_rule_of_an_environment_leaves_to_the_team_what_is_the_teams() -> None:
    team = make.team()
    ours, others = make.agent(team=team, environment="test"), make.agent(environment="test")
    make.visibility_rule(environment="test")
    assert [said(ours), said(others)] == [BY_PLACE, BY_PLACE]
    done = services.set_visibility_rule(actor=ADMIN, team=team, reason=WHY)
    assert set(done.changed.values()) == {0}, "it was confidential already"
    assert said(ours) == BY_TEAM


def test_a_hundred_things_cost_no_more_statements_than_one() -> None:
    def cost(number: int) -> int:
        team = make.team()
        owner = make.person()
        System.objects.bulk_create(
            System(name=f"{team.slug} {n}", kind="database", data_class="internal", team=team, owner=owner)
            for n in range(number)
        )
        with CaptureQueriesContext(
            connection,
        ) as queries:
            services.set_visibility_rule(actor=ADMIN, team=team, reason=WHY)
        return len(queries)

    assert cost(1) == cost(100)


@pytest.mark.parametrize(
    ("facts", "field"),
    [({}, "team"), ({"environment": "nowhere"}, "environment"), ({"environment": "test", "reason": " "}, "reason")],
)
def test_what_is_no_rule(facts: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        services.set_visibility_rule(actor=ADMIN, **({"reason": WHY} | facts))
    assert list(refused.value.fields) == [field]
    with pytest.raises(Invalid):
        services.set_visibility_rule(actor=ADMIN, reason=WHY, team=make.team(), environment="test")
    with pytest.raises(SecretRefused):
        services.set_visibility_rule(actor=ADMIN, environment="test", reason="ghp_" + "A1b2C3d4E5" * 3 + "F6g7h8")
    assert not VisibilityRule.objects.exists()


def test_there_is_one_rule_for_each() -> None:
    team = make.team()
    first = make.visibility_rule(team)
    with pytest.raises(Conflict, match="such a rule already"):
        services.set_visibility_rule(actor=ADMIN, team=team, reason=WHY)
    services.drop_visibility_rule(actor=ADMIN, rule=first, reason="The merger is public.")
    assert make.visibility_rule(team).pk != first.pk
    assert VisibilityRule.objects.filter(team=team).count() == 2, "the first stays on record"


@pytest.mark.parametrize("role", ["member", "reviewer", "campaign_manager", "auditor"])
def test_only_security_and_administrators_set_and_drop(role: str) -> None:
    person = make.person(role)
    team = make.team(person, lead=person)
    with pytest.raises(NotAllowed):
        services.set_visibility_rule(actor=make.acting(person), team=team, reason=WHY)
    rule = make.visibility_rule(team)
    with pytest.raises(NotAllowed):
        services.drop_visibility_rule(actor=make.acting(person), rule=rule, reason=WHY)
    with pytest.raises(NotSignedIn):
        services.drop_visibility_rule(actor=Actor.anonymous(), rule=rule, reason=WHY)
    for other in ("security", "administrator"):
        old = replace(make.acting(make.person(other)), authenticated_at=timezone.now() - timedelta(days=1))
        with pytest.raises(StepUpRequired):
            services.drop_visibility_rule(actor=old, rule=rule, reason=WHY)
        with pytest.raises(StepUpRequired):
            services.set_visibility_rule(actor=old, environment="test", reason=WHY)


# --- Dropping it -----------------------------------------------------------------------------------------


def test_dropping_shows_what_nothing_else_keeps() -> None:
    team = make.team()
    rule = make.visibility_rule(team)
    make.visibility_rule(environment="staging")
    plain, staged = make.system(team=team), make.system(team=team, environment="staging")
    marked = make.system(team=team, confidential=True)
    assert [said(each) for each in (plain, staged, marked)] == [BY_TEAM, BY_TEAM, MARKED]
    done = services.drop_visibility_rule(actor=ADMIN, rule=rule, reason="The merger is public.")
    assert done.changed == {"server": 0, "system": 1, "agent": 0}
    assert [said(each) for each in (plain, staged, marked)] == [OPEN, BY_PLACE, MARKED]
    event = Event.objects.get(act="visibility_rule.dropped")
    assert event.data["changed"] == done.changed
    assert Event.objects.get(act="system.visibility_changed", subject_id=plain.pk).data["rule"] == str(rule.pk)
    with pytest.raises(Conflict, match="dropped already"):
        services.drop_visibility_rule(actor=ADMIN, rule=rule, reason="Again.")


def test_dropping_asks_for_a_reason_and_the_version_one_saw() -> None:
    rule = make.visibility_rule()
    with pytest.raises(Invalid):
        services.drop_visibility_rule(actor=ADMIN, rule=rule, reason="")
    with pytest.raises(Changed):
        services.drop_visibility_rule(actor=ADMIN, rule=rule, reason=WHY, expected_version='"another"')
    assert VisibilityRule.objects.get(pk=rule.pk).dropped_at is None


# --- Registering and changing under a rule ---------------------------------------------------------------


def test_imports_follow_the_rule_of_the_environment() -> None:
    make.visibility_rule(environment="production")
    job = make.import_job()
    result = ImportResult.objects.filter(job=job, server__isnull=False).first()
    assert result is not None
    assert said(result.server) == BY_PLACE
    assert not ImportResult.objects.visible_to(make.acting(make.person())).filter(job=job).exists()


def test_joining_and_leaving_the_team() -> None:
    owner, team = make.person(), make.team(name="Payments")
    make.visibility_rule(team)
    system, agent = make.system(owner=owner), make.agent(owner=owner)
    server = make.complete_draft(owner=owner)
    deputy = server.deputy
    services.update_system(actor=make.acting(owner), system=system, team=team)
    services.update_agent(actor=make.acting(owner), agent=agent, team=team)
    services.assign_people(actor=make.acting(owner), server=server, owner=owner, deputy=deputy, team=team)
    assert [said(each) for each in (system, agent, server)] == [BY_TEAM] * 3
    changed = Event.objects.filter(act="server.people_assigned", subject_id=server.pk).latest("at").data
    assert (changed["before"]["confidential"], changed["after"]["confidential_because"]) == (False, "team")
    assert Event.objects.get(act="system.changed", subject_id=system.pk).data["after"]["confidential"] is True
    services.update_system(actor=make.acting(owner), system=system, team=None)
    services.assign_people(actor=make.acting(owner), server=server, owner=owner, deputy=deputy, team=make.team())
    assert [said(each) for each in (system, server)] == [OPEN] * 2


def test_moving_between_environments() -> None:
    make.visibility_rule(environment="staging")
    server = make.draft()
    server = services.update_identity(actor=ADMIN, server=server, environment="staging", title="Moved")
    assert (server.confidential, server.confidential_because) == said(server) == BY_PLACE
    event = Event.objects.get(act="server.identity_changed", subject_id=server.pk)
    assert event.data["after"]["confidential_because"] == "environment"
    server = services.update_identity(actor=ADMIN, server=server, environment="test")
    assert said(server) == OPEN


def test_a_mark_cannot_be_taken_away_under_a_rule() -> None:
    team = make.team(name="Payments")
    make.visibility_rule(team)
    for thing, change in (
        (make.system(team=team), services.update_system),
        (make.agent(team=team, confidential=True), services.update_agent),
    ):
        with pytest.raises(Invalid) as refused:
            change(actor=ADMIN, confidential=False, **{thing.subject_type: thing})
        assert refused.value.fields == {"confidential": ["Team Payments keeps its things confidential."]}
        change(actor=ADMIN, confidential=False, team=None, **{thing.subject_type: thing})
        assert said(thing) == OPEN, "the same act may take it out of the team"
    make.visibility_rule(environment="staging")
    server = make.draft(environment="staging")
    with pytest.raises(Invalid) as refused:
        services.update_identity(actor=ADMIN, server=server, confidential=False)
    assert refused.value.fields == {"confidential": ["Everything in Staging is confidential."]}


def test_a_mark_under_a_rule_outlives_it() -> None:
    team = make.team()
    rule = make.visibility_rule(team)
    system = make.system(team=team)
    services.update_system(actor=ADMIN, system=system, confidential=True)
    assert said(system) == MARKED
    services.drop_visibility_rule(actor=ADMIN, rule=rule, reason="Over.")
    assert said(system) == MARKED
    services.update_system(actor=ADMIN, system=system, confidential=False)
    assert said(system) == OPEN


# --- Upper rooms -----------------------------------------------------------------------------------------


def test_publishing_and_reviews_hear_of_it(monkeypatch: Any, django_capture_on_commit_callbacks: Any) -> None:
    heard: list[str] = []
    monkeypatch.setattr(discovery_tasks.sweep_publications, "delay", lambda: heard.append("publishing"))
    monkeypatch.setattr(reviews_tasks.admit_those_asked, "delay", lambda: heard.append("reviews"))
    team, owner = make.team(), make.person()
    system = make.system(team=team, owner=owner)
    with django_capture_on_commit_callbacks(execute=True):
        services.set_visibility_rule(actor=ADMIN, team=team, reason=WHY)
    assert sorted(heard) == ["publishing", "reviews"]
    other = make.system(owner=owner)
    with django_capture_on_commit_callbacks(execute=True):
        services.update_system(actor=ADMIN, system=other, confidential=True)
    assert sorted(heard) == ["publishing", "publishing", "reviews", "reviews"], "a mark by hand bars them as well"
    with django_capture_on_commit_callbacks(execute=True):
        services.update_system(actor=ADMIN, system=system, description="Nothing of the kind.")
        services.set_visibility_rule(actor=ADMIN, team=make.team(), reason=WHY)
    assert len(heard) == 4


def test_what_was_published_is_withdrawn_and_comes_back() -> None:
    server = make.published_server(title="Merger desk")
    rule = make.visibility_rule(server.team)
    discovery.sweep_publications(actor=ADMIN)
    row = Publication.objects.get()
    assert (row.status, row.withheld) == ("deleted", True)
    assert "Merger" not in str(row.body)
    services.drop_visibility_rule(actor=ADMIN, rule=rule, reason="It is public.")
    discovery.sweep_publications(actor=ADMIN)
    row.refresh_from_db()
    assert (row.status, row.withheld, row.body["title"]) == ("active", False, "Merger desk")


def test_whoever_reviews_it_goes_on_seeing_it(web: Any) -> None:
    grant = make.grant()
    campaign = make.campaign(make.person("reviewer"), make.person("reviewer"))
    reviewers = {item.kind: item.work_items.get().reviewer for item in campaign.items.select_related(None)}
    make.visibility_rule(grant.server.team)
    make.visibility_rule(environment="production")
    for reviewer in {*reviewers.values()}:
        assert web(reviewer).get(f"/servers/{grant.server_id}/").status_code == 404
    assert reviews.admit_those_asked() > 0
    assert web(reviewers["server"]).get(f"/servers/{grant.server_id}/").status_code == 200
    assert web(reviewers["grant"]).get(f"/servers/{grant.server_id}/").status_code == 200
    assert web(reviewers["grant"]).get(f"/agents/{grant.agent_id}/").status_code == 200
    assert web(make.person("reviewer")).get(f"/servers/{grant.server_id}/").status_code == 404
    assert reviews.admit_those_asked() == 0, "once is enough"


# --- Who sees it, everywhere -----------------------------------------------------------------------------

NAME = "Zqxmerger"


@pytest.fixture(scope="module")
def hidden(kept: None) -> dict[str, Any]:
    """An estate in sight of everybody, which a rule of its team and one of an environment then hid."""
    owner, mate = make.person(name="Olga Owner"), make.person(name="Mats Mate")
    team = make.team(owner, mate, name="Payments")
    server = make.published_server(owner=owner, in_team=team, title=NAME, name=f"com.example/{NAME.lower()}")
    system = make.system(name=f"{NAME} ledger", owner=owner, team=team)
    agent = make.agent(name=f"{NAME} clerk", owner=owner, environment="staging")
    grant = make.grant(server=server, agent=agent, requested_by=owner)
    make.connection(server=server, system=system, requested_by=owner)
    start = make.person("security")
    make.visibility_rule(team, by=start)
    make.visibility_rule(environment="staging", by=start)
    discovery.sweep_publications(actor=ADMIN)
    return {"owner": owner, "mate": mate, "server": server, "system": system, "agent": agent, "grant": grant}


SOUGHT = NAME[:-2]
"""Finds it, and stands in no answer that only repeats the question as `NAME` would."""


def asked(rest: bool) -> list[str]:
    """Every address without a parameter, and questions that would find it, now and in the past."""
    past = (clock.now() - timedelta(milliseconds=1)).isoformat().replace("+00:00", "Z")
    addresses = {reverse(name) for name in PATTERNS if not parameters(name) and name.startswith("api:") == rest}
    if rest:
        more = [f"/api/v1/{kind}?q={SOUGHT}" for kind in ("servers", "systems", "agents")]
        more += [f"/api/v1/trust/export?format={form}&as_of={past}" for form in ("jgf", "csv")]
    else:
        more = [f"/{kind}/?q={SOUGHT}" for kind in ("servers", "systems", "agents", "trust", "search")]
        more += [f"/options/{kind}/?q={SOUGHT}" for kind in ("servers", "systems", "agents")]
        more += [f"/trust/explore/?q={SOUGHT}", f"/trust/explore/options/?q={SOUGHT}", f"/trust/?as_of={past}"]
    return sorted(addresses) + more


def told(client: Any, path: str) -> str | None:
    """The body, or None where nothing is to be had in this way."""
    answer = client.get(path)
    assert answer.status_code < 500, path
    return None if answer.status_code != 200 else (answer.getvalue() if answer.streaming else answer.content).decode()


def things(hidden: dict[str, Any]) -> list[str]:
    return [f"/{kind}s/{hidden[kind].pk}" for kind in ("server", "system", "agent")]


@pytest.mark.usefixtures("kept")
class TestWhoSeesIt:
    @pytest.mark.parametrize("rest", [False, True], ids=["pages", "rest"])
    def test_nothing_of_it_reaches_an_outsider(self, rest: bool, hidden: dict[str, Any], web: Any, api: Any) -> None:
        member, answered, mine = (api if rest else web)(make.person()), 0, 0
        colleague = (api if rest else web)(hidden["owner"])
        ids = [str(hidden[each].pk) for each in ("server", "system", "agent", "grant")]
        for path in asked(rest):
            text = told(member, path)
            if text is not None:
                answered += 1
                assert NAME.lower() not in text.lower(), path
                assert not [each for each in ids if each in text], path
            if SOUGHT in path:
                mine += NAME in (told(colleague, path) or "")
        assert answered > 40, "most of them answer"
        assert mine >= 3, "whoever is of the team finds it by the same questions"

    def test_addresses_answer_by_who_asks(self, hidden: dict[str, Any], web: Any, api: Any) -> None:
        outsiders = [make.person(role) for role in ("member", "reviewer", "campaign_manager")]
        insiders = [hidden["owner"], make.person("security"), make.person("auditor")]
        asking = [(web(each), api(each), each in insiders) for each in (*outsiders, *insiders)]
        for path in things(hidden):
            assert web().get(f"{path}/").status_code == 302
            for pages, rest, sees in asking:
                assert pages.get(f"{path}/").status_code == (200 if sees else 404)
                answer = rest.get(f"/api/v1{path}")
                assert answer.json()["confidential"] is True if sees else answer.status_code == 404
        server, system, agent = things(hidden)
        for path, status in ((server, 200), (system, 200), (agent, 404)):
            assert web(hidden["mate"]).get(f"{path}/").status_code == status, "the agent is hidden by its environment"

    def test_the_page_says_why(self, hidden: dict[str, Any], web: Any) -> None:
        client = web(hidden["owner"])
        said_there = [client.get(f"{path}/").content.decode() for path in things(hidden)]
        assert "Team Payments keeps its things confidential." in said_there[0]
        assert "Team Payments keeps its things confidential." in said_there[1]
        assert "Everything in Staging is confidential." in said_there[2]

    def test_a_token_of_somebody_else_sees_as_little(self, hidden: dict[str, Any], api: Any) -> None:
        path = f"/api/v1/servers/{hidden['server'].pk}"
        assert api(make.person(), "catalog:read").get(path).status_code == 404
        assert api(hidden["mate"], "catalog:read").get(path).json()["confidential_because"] == "team"
        workload = Actor("workload", user=make.service_principal().owner, scopes=frozenset({"catalog:read"}))
        for kind in ("server", "system", "agent"):
            seen = type(hidden[kind]).objects.visible_to(workload)
            assert not seen.filter(pk=hidden[kind].pk).exists()

    @pytest.mark.parametrize("question", ["reach", "access", "blast-radius", "impact"])
    def test_trust_does_not_name_it_now_nor_then(self, hidden: dict[str, Any], api: Any, question: str) -> None:
        client = api(make.person())
        past = (clock.now() - timedelta(milliseconds=1)).isoformat().replace("+00:00", "Z")
        for kind in ("server", "system", "agent"):
            for moment in ("", f"&as_of={past}"):
                answer = client.get(f"/api/v1/trust/{question}?{kind}={hidden[kind].pk}{moment}")
                assert answer.status_code in (404, 422), (kind, moment, answer.content[:200])
                assert NAME.lower() not in answer.content.decode().lower()

    def test_machines_are_not_told_of_it(self, hidden: dict[str, Any], web: Any, settings: Any) -> None:
        settings.PUBLISH_ANONYMOUS = True
        for path in ("/v0.1/servers?include_deleted=true", "/exports/managed-mcp.json", "/v0.1/servers"):
            body = web().get(path).content.decode()
            assert hidden["server"].title not in body, path
            assert "Everything" not in body, path

    @pytest.mark.parametrize("path", ["/servers/", "/systems/", "/agents/", "/api/v1/servers", "/trust/relationships/"])
    def test_lists_cost_what_they_cost_before(self, path: str, web: Any, api: Any, hidden: dict[str, Any]) -> None:
        member, team = make.person(), make.team()
        for _ in range(3):
            make.system(team=team), make.agent(team=team)
        client = (api if path.startswith("/api") else web)(member)

        def cost() -> int:
            client.get(path)
            with CaptureQueriesContext(connection) as queries:
                client.get(path)
            return len(queries)

        before = cost()
        make.visibility_rule(team)
        assert cost() <= before


# --- Pages -----------------------------------------------------------------------------------------------


class TestPages:
    def test_from_the_choice_over_the_preview_to_the_rule(self, web: Any) -> None:
        team = make.team(name="Payments")
        of_every_kind(team)
        make.system(team=team, confidential=True)
        client = web(make.person("administrator"))
        assert "No rule yet" in client.get("/visibility-rules/").content.decode()
        over = f"team:{team.slug}"
        preview = client.get(f"/visibility-rules/new/?over={over}")
        assert [(each.kind, each.moving, each.staying) for each in preview.context["effect"]] == [
            ("server", 1, 0), ("system", 1, 1), ("agent", 1, 0),
        ]  # fmt: skip
        assert not VisibilityRule.objects.exists(), "looking changes nothing"
        assert client.post("/visibility-rules/new/", {"over": over, "reason": ""}).status_code == 422
        done = client.post("/visibility-rules/new/", {"over": over, "reason": WHY}, follow=True)
        text = done.content.decode()
        assert "Team Payments keeps its things confidential." in text
        assert "servers 1, systems 1, agents 1" in text
        assert WHY in text
        assert done.context["rows"][0][1] == {"server": 1, "system": 1, "agent": 1}
        assert over not in client.get("/visibility-rules/new/").content.decode(), "it has a rule"
        assert client.get(f"/visibility-rules/new/?over={over}").status_code == 422

    def test_dropping_shows_first_what_everybody_would_see(self, web: Any) -> None:
        rule = make.visibility_rule(make.team(name="Payments"))
        make.system(team=rule.team), make.system(team=rule.team, confidential=True)
        client = web(make.person("security"))
        page = client.get(f"/visibility-rules/{rule.pk}/drop/")
        assert [(each.moving, each.staying) for each in page.context["effect"]] == [(0, 0), (1, 1), (0, 0)]
        assert client.post(f"/visibility-rules/{rule.pk}/drop/", {"reason": ""}).status_code == 422
        done = client.post(
            f"/visibility-rules/{rule.pk}/drop/", {"reason": "It is public.", "version": rule.etag}, follow=True
        )
        assert "The rule is dropped." in done.content.decode()
        assert "It is public." in client.get("/visibility-rules/?in_force=false").content.decode()
        assert client.get(f"/visibility-rules/{rule.pk}/drop/").status_code == 409

    def test_who_may_open_them(self, web: Any) -> None:
        rule = make.visibility_rule()
        drop = f"/visibility-rules/{rule.pk}/drop/"
        pages = ("/visibility-rules/", "/visibility-rules/new/", drop)
        answers = {
            role: [web(make.person(role)).get(page).status_code for page in pages]
            for role in ("member", "reviewer", "auditor", "security", "administrator")
        }
        assert answers == {
            "member": [403, 403, 403], "reviewer": [403, 403, 403], "auditor": [200, 403, 403],
            "security": [200, 200, 200], "administrator": [200, 200, 200],
        }  # fmt: skip
        assert web().get(drop).status_code == 302
        text = web(make.person("auditor")).get("/teams").content.decode()
        assert 'href="/visibility-rules/"' in text
        assert 'href="/visibility-rules/"' not in web(make.person()).get("/teams").content.decode()

    def test_the_list_costs_the_same_for_many_rules(self, web: Any) -> None:
        client = web(make.person("security"))

        def cost() -> int:
            client.get("/visibility-rules/")
            with CaptureQueriesContext(connection) as queries:
                client.get("/visibility-rules/")
            return len(queries)

        make.system(team=make.visibility_rule().team)
        before = cost()
        for _ in range(5):
            make.system(team=make.visibility_rule().team)
        assert cost() == before

    def test_a_box_that_would_change_nothing_cannot_be_changed(self, web: Any) -> None:
        owner = make.person()
        team = make.team(owner, name="Payments")
        make.visibility_rule(team)
        system = make.system(owner=owner, team=team)
        client = web(owner)
        form = client.get(f"/systems/{system.pk}/edit/").context["form"]
        assert form.fields["confidential"].disabled
        assert form["confidential"].value() is True
        assert form.fields["confidential"].help_text == "Team Payments keeps its things confidential."
        values = {"name": "Renamed", "kind": "database", "data_class": "internal", "environment": "test",
                  "owner": owner.email, "team": team.pk}  # fmt: skip
        assert client.post(f"/systems/{system.pk}/edit/", values).status_code == 302
        assert said(system) == BY_TEAM, "no mark was made of a box nobody could tick"
        moved = client.post(f"/systems/{system.pk}/edit/", values | {"team": ""}, follow=True)
        assert "every member sees it" in moved.content.decode()
        assert said(system) == OPEN
        fresh = client.get("/systems/new/").context["form"].fields["confidential"]
        assert "everything of Payments" in str(fresh.help_text)
        back = client.post(f"/systems/{system.pk}/edit/", values, follow=True)
        assert "Team Payments keeps its things confidential." in back.content.decode()

    def test_the_registration_says_it_too(self, web: Any) -> None:
        owner = make.person()
        team = make.team(owner, name="Payments")
        rule = make.visibility_rule(team)
        make.visibility_rule(environment="staging")
        server = make.complete_draft(owner=owner)
        client = web(owner)
        identity = reverse("portal:registration", args=[server.pk, "identity"])
        form = client.get(identity).context["form"]
        assert "everything of Payments, Staging" in str(form.fields["confidential"].help_text)
        values = {"name": server.name, "title": "Moved", "environment": "staging", "endpoints-TOTAL_FORMS": "0",
                  "endpoints-INITIAL_FORMS": "0", "close": ""}  # fmt: skip
        told_there = client.post(identity, values, follow=True).content.decode()
        assert "Everything in Staging is confidential." in told_there
        assert said(server) == BY_PLACE
        assert client.get(identity).context["form"].fields["confidential"].disabled
        assert client.post(identity, values | {"title": "Again"}).status_code == 302
        assert said(server) == BY_PLACE
        people = client.get(reverse("portal:registration", args=[server.pk, "people"])).context["form"]
        assert str(rule) in str(people.fields["team"].help_text)


# --- REST ------------------------------------------------------------------------------------------------


class TestRest:
    def test_a_rule_from_preview_to_its_end(self, api: Any) -> None:
        team = make.team()
        of_every_kind(team)
        client = api(make.person("security"))
        effect = client.get("/api/v1/visibility-rules/preview", {"team": str(team.pk)}).json()
        assert [(each["kind"], each["covered"], each["moving"]) for each in effect] == [
            ("server", 1, 1), ("system", 1, 1), ("agent", 1, 1),
        ]  # fmt: skip
        made = client.post("/api/v1/visibility-rules", {"team": str(team.pk), "reason": WHY})
        assert made.status_code == 201, made.content
        body = made.json()
        assert body["keeps"] == {"server": 1, "system": 1, "agent": 1}
        path = f"/api/v1/visibility-rules/{body['id']}"
        assert client.get(path).json()["keeps"] == body["keeps"]
        assert client.get(f"{path}/drop-preview").json()[0]["moving"] == 1
        (listed,) = client.get("/api/v1/visibility-rules?in_force=true").json()["results"]
        assert listed["keeps"] == body["keeps"]
        assert client.post(f"{path}/drop", {"reason": "Over."}, HTTP_IF_MATCH='"other"').status_code == 412
        dropped = client.post(f"{path}/drop", {"reason": "Over."}, HTTP_IF_MATCH=made["ETag"])
        assert dropped.status_code == 200, dropped.content
        assert dropped.json()["drop_reason"] == "Over."
        assert dropped.json()["keeps"] == {"server": 0, "system": 0, "agent": 0}
        assert client.post(f"{path}/drop", {"reason": "Again."}).status_code == 409
        assert client.get("/api/v1/visibility-rules?in_force=true").json()["results"] == []

    def test_either_a_team_or_an_environment(self, api: Any) -> None:
        client, team = api(make.person("administrator")), str(make.team().pk)
        for body in ({}, {"team": team, "environment": "test"}, {"environment": "nowhere"}):
            assert client.post("/api/v1/visibility-rules", {**body, "reason": WHY}).status_code == 422, body
            assert client.get("/api/v1/visibility-rules/preview", body).status_code == 422, body
        made = client.post("/api/v1/visibility-rules", {"environment": "test", "reason": WHY})
        assert made.status_code == 201
        again = client.post("/api/v1/visibility-rules", {"environment": "test", "reason": WHY})
        assert again.status_code == 409

    def test_scopes(self, api: Any) -> None:
        security = make.person("security")
        rule = make.visibility_rule()
        reading, writing = api(security, "catalog.visibility:read"), api(security, "catalog.visibility:write")
        assert reading.get("/api/v1/visibility-rules").status_code == 200
        assert reading.post("/api/v1/visibility-rules", {"environment": "test", "reason": WHY}).status_code == 403
        assert writing.post("/api/v1/visibility-rules", {"environment": "test", "reason": WHY}).status_code == 201
        narrow = api(security, "catalog.servers:write")
        assert narrow.post(f"/api/v1/visibility-rules/{rule.pk}/drop", {"reason": WHY}).status_code == 403
        assert api(make.person()).get("/api/v1/visibility-rules").status_code == 403

    def test_a_thing_says_why_it_is_confidential(self, api: Any) -> None:
        owner = make.person()
        team = make.team(owner, name="Payments")
        make.visibility_rule(team)
        client = api(owner)
        body = {"name": "Ledger", "kind": "database", "data_class": "internal", "team": str(team.pk)}
        made = client.post("/api/v1/systems", body)
        assert (made.json()["confidential"], made.json()["confidential_because"]) == (True, "team")
        path = f"/api/v1/systems/{made.json()['id']}"
        refused = client.patch(path, {"confidential": False})
        assert refused.status_code == 422
        assert "Team Payments keeps its things confidential." in refused.content.decode()
        assert client.patch(path, {"confidential_because": ""}).status_code in (200, 422)
        assert said(System.objects.get()) == BY_TEAM
        assert client.patch(path, {"confidential": True}).json()["confidential_because"] == "marked"


# --- At the same moment ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestAtTheSameMoment:
    def test_what_is_registered_while_the_rule_is_set_is_under_it(self) -> None:
        team, owner = make.team(), make.person()

        def register() -> None:
            make.system(name="Just now", team=team, owner=owner, created_by=owner)

        def rule() -> None:
            services.set_visibility_rule(actor=ADMIN, team=team, reason=WHY)

        assert meanwhile(register, rule) is None
        assert said(System.objects.get(name="Just now")) == BY_TEAM

    def test_what_is_registered_before_the_rule_is_in_force_waits_for_it(self) -> None:
        team, owner = make.team(), make.person()

        def register() -> None:
            make.agent(name="Just now", team=team, owner=owner, created_by=owner)

        assert meanwhile(lambda: services.set_visibility_rule(actor=ADMIN, team=team, reason=WHY), register) is None
        assert said(Agent.objects.get(name="Just now")) == BY_TEAM

    def test_a_follower_of_the_graph_hears_that_it_is_gone(self, api: Any) -> None:
        team, client = make.team(), api(make.person())
        system = make.system(team=team)
        follower = Follower(client)
        rule = make.visibility_rule(team)
        assert told_of(follower.follow(), system) == ["gone"]
        services.drop_visibility_rule(actor=ADMIN, rule=rule, reason="Over.")
        assert told_of(follower.follow(), system) == ["appeared"]

    def test_two_set_the_same_rule(self) -> None:
        team = make.team()
        act = lambda: services.set_visibility_rule(actor=ADMIN, team=team, reason=WHY)  # noqa: E731
        assert sorted(at_once(act, act)) == ["Conflict", "done"]
        assert VisibilityRule.objects.count() == 1


def test_every_reason_has_words() -> None:
    assert {each: bool(Because.sentence(each, make.team(), "Test")) for each in ("", *Because.values)} == {
        "": False, "marked": True, "team": True, "environment": True,
    }  # fmt: skip
