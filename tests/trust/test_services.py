"""Acts on trust relationships, for whoever may and whoever may not."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.utils import ProgrammingError

from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import (
    Changed,
    Conflict,
    IllegalTransition,
    Invalid,
    NotAllowed,
    NotFound,
    NotIndependent,
    NotSignedIn,
    SecretRefused,
)
from registry.trust import services
from registry.trust.models import Connection, Grant
from registry.trust.states import Status
from tests import factories as make

pytestmark = pytest.mark.django_db
Relationship = Grant | Connection


def soon(days: int = 30) -> Any:
    return clock.now() + timedelta(days=days)


def refused(error: type[Exception], act: Callable[..., Any], **facts: Any) -> Any:
    """Call `act` and check that it fails so and leaves nothing behind."""
    before = Event.objects.count()
    with pytest.raises(error) as caught, transaction.atomic():
        act(**facts)
    assert Event.objects.count() == before
    return caught.value


def evidence(thing: Relationship) -> list[str]:
    return list(Event.objects.filter(subject_id=thing.pk).order_by("at", "id").values_list("act", flat=True))


# --- Asking ----------------------------------------------------------------------------------------------


def test_any_member_requests_a_grant_for_the_servers_current_purpose() -> None:
    member = make.person()
    grant = make.requested_grant(requested_by=member, tools=["query", " query ", "export"])
    assert grant.status == Status.REQUESTED
    assert grant.tools == ["export", "query"]
    assert grant.purpose == grant.server.purpose
    assert grant.requested_by == member
    assert grant.activated_at is None
    assert evidence(grant) == ["grant.requested"]


def test_strangers_request_nothing() -> None:
    server, agent, system = make.active_server(), make.agent(), make.system()
    terms = {"reason": "Needed.", "valid_until": soon()}
    for actor, error in ((Actor.anonymous(), NotSignedIn), (make.acting(make.outsider()), NotAllowed)):
        refused(error, services.request_grant, actor=actor, agent=agent, server=server, tools=["query"], **terms)
        refused(error, services.request_connection, actor=actor, server=server, system=system, access="read", **terms)


def test_what_one_may_not_see_one_cannot_ask_for() -> None:
    owner = make.person()
    server = make.active_server(owner=owner, confidential=True)
    agent = make.agent()
    terms = {"agent": agent, "server": server, "tools": ["query"], "reason": "Needed.", "valid_until": soon()}
    error = refused(NotFound, services.request_grant, actor=make.acting(make.person()), **terms)
    assert server.name not in str(error.fields) + error.message
    assert services.request_grant(actor=make.acting(owner), **terms).status == Status.REQUESTED


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"tools": []}, "tools"),
        ({"tools": ["drop_everything"]}, "tools"),
        ({"tools": ["query"], "all_tools": True}, "tools"),
        ({"reason": "  "}, "reason"),
        ({"on_behalf_of": "everybody"}, "on_behalf_of"),
        ({"max_token_lifetime_seconds": 59}, "max_token_lifetime_seconds"),
        ({"max_token_lifetime_seconds": 24 * 3600 + 1}, "max_token_lifetime_seconds"),
    ],
)
def test_a_grant_request_names_what_is_wrong(facts: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        make.requested_grant(**facts)
    assert list(caught.value.fields) == [field]


def test_every_tool_is_asked_for_explicitly() -> None:
    grant = make.requested_grant(all_tools=True, reason="Runs the nightly regression over every tool.")
    assert (grant.all_tools, grant.tools) == (True, [])


def test_a_server_that_lists_no_tools_cannot_be_held_against() -> None:
    server = make.active_server(tools=[])
    assert make.requested_grant(server=server, tools=["anything"]).tools == ["anything"]


@pytest.mark.parametrize("what", ["grant", "connection"])
def test_nothing_outlives_a_year_or_the_purpose(what: str) -> None:
    request = make.requested_grant if what == "grant" else make.requested_connection
    server = make.active_server()
    for days, words in ((-1, "future"), (370, "purpose ends")):
        with pytest.raises(Invalid) as caught:
            request(server=server, valid_until=soon(days))
        assert words in caught.value.fields["valid_until"][0]
    owner = make.acting(server.owner)
    catalog.set_purpose(
        actor=owner, server=server, statement="Longer.", in_scope=[], out_of_scope=[], data_classes=["internal"],
        ends_on=clock.today() + timedelta(days=700),
    )  # fmt: skip
    with pytest.raises(Invalid) as caught:
        request(server=server, valid_until=soon(366))
    assert "at most 365 days" in caught.value.fields["valid_until"][0]


def test_the_purpose_holds_on_its_last_day() -> None:
    server = make.active_server()
    last_moment = clock.now().replace(hour=23, minute=59) + timedelta(days=360)
    assert make.requested_grant(server=server, valid_until=last_moment).valid_until == last_moment


def test_secret_values_are_refused_and_not_echoed() -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    with pytest.raises(SecretRefused) as caught:
        make.requested_grant(reason=f"Uses {secret}")
    assert list(caught.value.fields) == ["reason"]
    assert secret not in str(caught.value.fields) + caught.value.message


def test_retired_ends_are_not_asked_for() -> None:
    agent, system = make.agent(), make.system()
    catalog.retire_agent(actor=make.acting(agent.owner), agent=agent, reason="Gone.")
    catalog.retire_system(actor=make.acting(system.owner), system=system, reason="Gone.")
    agent.refresh_from_db()
    system.refresh_from_db()
    with pytest.raises(Invalid) as caught:
        make.requested_grant(agent=agent)
    assert "agent" in caught.value.fields
    with pytest.raises(Invalid) as caught:
        make.requested_connection(system=system)
    assert "system" in caught.value.fields


def test_a_second_request_waits_for_the_first() -> None:
    first = make.requested_grant()
    with pytest.raises(Conflict, match="waits for a decision"):
        make.requested_grant(agent=first.agent, server=first.server)
    connection = make.requested_connection()
    with pytest.raises(Conflict, match="waits for a decision"):
        make.requested_connection(server=connection.server, system=connection.system)


def test_a_connection_takes_the_only_secret_source_and_no_other_servers() -> None:
    connection = make.requested_connection(scopes=["tickets:read", "tickets:read"])
    assert connection.secret_source == make.source_of(connection.server)
    assert connection.scopes == ["tickets:read"]
    with pytest.raises(Invalid) as caught:
        make.requested_connection(secret_source=make.source_of(connection.server))
    assert "another server" in caught.value.fields["secret_source"][0]


# --- Deciding --------------------------------------------------------------------------------------------


def test_an_independent_reviewer_approves_a_grant() -> None:
    reviewer = make.person("reviewer")
    grant = services.approve_grant(actor=make.acting(reviewer), grant=make.requested_grant())
    assert (grant.status, grant.decided_by) == (Status.ACTIVE, reviewer)
    assert grant.activated_at is not None
    assert grant.certified_until is None
    assert evidence(grant) == ["grant.requested", "grant.approved"]


def interested_in_grant() -> list[tuple[str, Grant, Any]]:
    """A request, and every person who must not decide on it although a reviewer."""
    people = {name: make.person("reviewer", name=name) for name in ("requester", "agent owner", "agent creator")}
    server = make.active_server(owner=make.person("security"), deputy=make.person("reviewer"))
    grant = make.requested_grant(
        server=server,
        agent=make.agent(owner=people["agent owner"], created_by=people["agent creator"]),
        requested_by=people["requester"],
    )
    return [(name, grant, user) for name, user in people.items()] + [
        ("server owner", grant, server.owner),
        ("server deputy", grant, server.deputy),
    ]


def test_nobody_approves_what_is_theirs() -> None:
    for who, grant, user in interested_in_grant():
        error = refused(NotIndependent, services.approve_grant, actor=make.acting(user), grant=grant)
        assert user.name in error.message, who
    grant.refresh_from_db()
    assert grant.status == Status.REQUESTED


def test_the_owner_of_the_server_behind_an_agent_gains_from_its_grants() -> None:
    behind = make.active_server(owner=make.person("reviewer"))
    agent = make.agent(kind="server", server=behind)
    error = refused(
        NotIndependent,
        services.approve_grant,
        actor=make.acting(behind.owner),
        grant=make.requested_grant(agent=agent),
    )
    assert "behind the agent" in error.message


def test_members_and_owners_without_the_role_do_not_approve() -> None:
    grant, connection = make.requested_grant(), make.requested_connection()
    for user in (make.person(), grant.server.owner, grant.agent.owner, make.person("administrator", "auditor")):
        refused(NotAllowed, services.approve_grant, actor=make.acting(user), grant=grant)
        refused(NotAllowed, services.approve_connection, actor=make.acting(user), connection=connection)
    refused(NotIndependent, services.approve_grant, actor=Actor.system("nobody"), grant=grant)


def test_the_owner_of_the_system_approves_for_the_providers_side() -> None:
    provider = make.person()
    connection = make.requested_connection(system=make.system(owner=provider))
    assert services.approve_connection(actor=make.acting(provider), connection=connection).status == Status.ACTIVE


def test_a_provider_who_owns_the_server_too_is_not_independent() -> None:
    both = make.person()
    connection = make.requested_connection(server=make.active_server(owner=both), system=make.system(owner=both))
    error = refused(NotIndependent, services.approve_connection, actor=make.acting(both), connection=connection)
    assert "owns the server" in error.message


def test_only_an_active_server_is_trusted_except_during_intake() -> None:
    reviewer = make.acting(make.person("reviewer"))
    grant = make.requested_grant(server=make.submitted_server())
    connection = make.requested_connection(server=grant.server)
    refused(Conflict, services.approve_grant, actor=reviewer, grant=grant)
    refused(Conflict, services.approve_connection, actor=reviewer, connection=connection)
    assert services.approve_grant(actor=reviewer, grant=grant, during_intake=True).status == Status.ACTIVE
    approved = services.approve_connection(actor=reviewer, connection=connection, during_intake=True)
    assert approved.status == Status.ACTIVE
    suspended = make.requested_grant()
    catalog.suspend_server(actor=make.acting(suspended.server.owner), server=suspended.server, reason="Odd calls.")
    refused(Conflict, services.approve_grant, actor=reviewer, grant=suspended, during_intake=True)


def test_a_tool_that_went_away_since_is_not_granted() -> None:
    grant = make.requested_grant(tools=["export"])
    catalog.set_tools(
        actor=make.acting(grant.server.owner),
        server=grant.server,
        tools=[{"name": "query", "confirmed_class": "read"}],
    )
    error = refused(Conflict, services.approve_grant, actor=make.acting(make.person("reviewer")), grant=grant)
    assert "export" in error.message


def test_a_connection_needs_a_usable_secret_source() -> None:
    server = make.active_server()
    catalog.set_secret_sources(
        actor=make.acting(server.owner),
        server=server,
        sources=[{"kind": "vault", "reference": f"kv/data/{name}", "credential_type": "static"} for name in ("a", "b")],
    )
    connection = make.requested_connection(server=server)
    assert connection.secret_source is None
    reviewer = make.acting(make.person("reviewer"))
    error = refused(Invalid, services.approve_connection, actor=reviewer, connection=connection)
    assert "secret_source" in error.fields
    source = server.secret_sources.filter(retired_at=None, reference="kv/data/b").get()
    refused(
        NotAllowed,
        services.connect_secret_source,
        actor=make.acting(make.person()),
        connection=connection,
        secret_source=source,
    )
    services.connect_secret_source(actor=make.acting(server.owner), connection=connection, secret_source=source)
    assert services.approve_connection(actor=reviewer, connection=connection).secret_source == source


def test_no_credential_counts_only_where_the_server_holds_none() -> None:
    none = {"kind": "none", "reason": "Reads public pages."}
    connection = make.requested_connection(server=make.active_server(secret=none))
    reviewer = make.acting(make.person("reviewer"))
    assert services.approve_connection(actor=reviewer, connection=connection).secret_source.kind == "none"


def test_a_new_secret_source_ends_certification() -> None:
    connection = make.connection()
    services.set_certified_until(actor=Actor.system("sign-off"), relationship=connection, until=soon())
    catalog.set_secret_sources(
        actor=make.acting(connection.server.owner),
        server=connection.server,
        sources=[
            {"kind": "vault", "reference": "kv/data/other", "credential_type": "static"},
        ],
    )
    changed = services.connect_secret_source(
        actor=make.acting(connection.server.owner),
        connection=connection,
        secret_source=make.source_of(connection.server),
    )
    assert changed.certified_until is None


@pytest.mark.parametrize("what", ["requested_grant", "requested_connection"])
def test_refusing_needs_a_reason_and_gives_nothing_away(what: str) -> None:
    thing = getattr(make, what)()
    refused(
        NotAllowed, services.refuse_relationship, actor=make.acting(make.person()), relationship=thing, reason="No."
    )
    reviewer = make.acting(make.person("reviewer"))
    refused(Invalid, services.refuse_relationship, actor=reviewer, relationship=thing, reason=" ")
    done = services.refuse_relationship(
        actor=make.acting(thing.server.owner), relationship=thing, reason="Not for this purpose."
    )
    assert (done.status, done.decided_by, done.status_reason) == (
        Status.REFUSED, thing.server.owner, "Not for this purpose.",
    )  # fmt: skip
    assert done.ended_at is not None


def test_only_the_requester_withdraws() -> None:
    grant = make.requested_grant()
    for user in (make.person("security"), grant.server.owner, grant.agent.owner):
        refused(NotAllowed, services.withdraw_relationship, actor=make.acting(user), relationship=grant)
    done = services.withdraw_relationship(actor=make.acting(grant.requested_by), relationship=grant)
    assert done.status == Status.WITHDRAWN
    assert make.requested_grant(agent=grant.agent, server=grant.server).status == Status.REQUESTED


def test_a_request_past_its_end_is_not_approved() -> None:
    grant = make.requested_grant()
    Grant.objects.filter(pk=grant.pk).update(valid_until=clock.now() - timedelta(minutes=1))
    refused(Conflict, services.approve_grant, actor=make.acting(make.person("reviewer")), grant=grant)


# --- Replacing -------------------------------------------------------------------------------------------


def test_an_approved_request_replaces_what_the_two_had() -> None:
    old = make.grant(tools=["query"])
    wider = make.requested_grant(agent=old.agent, server=old.server, tools=["query", "export"])
    assert wider.lineage == old.lineage
    old.refresh_from_db()
    assert old.status == Status.ACTIVE
    new = services.approve_grant(actor=make.acting(make.person("reviewer")), grant=wider)
    old.refresh_from_db()
    assert (old.status, new.status, new.supersedes) == (Status.REPLACED, Status.ACTIVE, old)
    assert old.ended_at is not None


def test_a_request_is_no_way_around_a_suspension() -> None:
    old = make.connection()
    services.suspend_relationship(actor=make.acting(old.system.owner), relationship=old, reason="Odd writes.")
    again = make.requested_connection(server=old.server, system=old.system)
    error = refused(Conflict, services.approve_connection, actor=make.acting(make.person("reviewer")), connection=again)
    assert "suspended" in error.message


# --- Narrowing and ending --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["grant", "connection"])
@pytest.mark.parametrize("act", ["suspend", "revoke"])
def test_both_ends_the_requester_and_security_let_go(what: str, act: str) -> None:
    service = getattr(services, f"{act}_relationship")
    after = {"suspend": Status.SUSPENDED, "revoke": Status.REVOKED}[act]
    for who in ("requester", "owner", "deputy", "other end", "security"):
        thing = getattr(make, what)()
        other_end = thing.agent if what == "grant" else thing.system
        user = {
            "requester": thing.requested_by,
            "owner": thing.server.owner,
            "deputy": thing.server.deputy,
            "other end": other_end.owner,
            "security": make.person("security"),
        }[who]
        refused(NotAllowed, service, actor=make.acting(make.person("auditor")), relationship=thing, reason="Enough.")
        refused(NotSignedIn, service, actor=Actor.anonymous(), relationship=thing, reason="Enough.")
        refused(Invalid, service, actor=make.acting(user), relationship=thing, reason="")
        done = service(actor=make.acting(user), relationship=thing, reason="Enough.")
        assert (done.status, done.status_reason) == (after, "Enough."), who


def test_security_resumes_what_is_not_its_own() -> None:
    guard = make.person("security")
    grant = make.grant(agent=make.agent(owner=guard))
    services.suspend_relationship(actor=make.acting(guard), relationship=grant, reason="Looking into it.")
    refused(NotIndependent, services.resume_relationship, actor=make.acting(guard), relationship=grant, reason="Fine.")
    refused(
        NotAllowed,
        services.resume_relationship,
        actor=make.acting(make.person("reviewer")),
        relationship=grant,
        reason="Fine.",
    )
    other = make.acting(make.person("security"))
    assert services.resume_relationship(actor=other, relationship=grant, reason="Fine.").status == Status.ACTIVE
    refused(IllegalTransition, services.resume_relationship, actor=other, relationship=grant, reason="Again.")


def test_revoking_ends_certification() -> None:
    grant = make.grant()
    services.set_certified_until(actor=Actor.system("sign-off"), relationship=grant, until=soon())
    done = services.revoke_relationship(actor=make.acting(grant.requested_by), relationship=grant, reason="Done.")
    assert done.certified_until is None
    assert done.ended_at is not None


def test_a_reduction_is_a_narrower_version_of_the_same_relationship() -> None:
    grant = make.grant(tools=["query", "export"])
    services.set_certified_until(actor=Actor.system("sign-off"), relationship=grant, until=soon())
    narrower = services.reduce_grant(
        actor=make.acting(grant.server.owner), grant=grant, kept_tools=["query"], reason="Never exports."
    )
    grant.refresh_from_db()
    assert (grant.status, narrower.status) == (Status.REDUCED, Status.ACTIVE)
    assert narrower.tools == ["query"]
    assert (narrower.lineage, narrower.supersedes, narrower.valid_until) == (
        grant.lineage, grant, grant.valid_until,
    )  # fmt: skip
    assert narrower.certified_until is None
    assert narrower.requested_by == grant.requested_by
    assert evidence(grant)[-1] == "grant.reduced"
    assert evidence(narrower) == ["grant.narrowed"]


@pytest.mark.parametrize(
    ("kept", "words"), [([], "Keep at least one"), (["query", "export"], "keeps everything"), (["drop"], "Not granted")]
)
def test_a_reduction_keeps_a_strict_part(kept: list[str], words: str) -> None:
    grant = make.grant(tools=["query", "export"])
    error = refused(
        Invalid,
        services.reduce_grant,
        actor=make.acting(grant.requested_by),
        grant=grant,
        kept_tools=kept,
        reason="Less.",
    )
    assert words in error.fields["kept_tools"][0]


def test_a_wildcard_may_be_reduced_to_every_tool_by_name() -> None:
    grant = make.grant(all_tools=True)
    narrower = services.reduce_grant(
        actor=make.acting(grant.requested_by), grant=grant, kept_tools=["query", "export"], reason="By name."
    )
    assert (narrower.all_tools, narrower.tools) == (False, ["export", "query"])


def test_a_connection_shrinks_by_scope_or_access() -> None:
    connection = make.connection(access="admin", scopes=["a", "b"])
    by = make.acting(connection.system.owner)
    lower = services.reduce_connection(actor=by, connection=connection, access="read", reason="Reads only.")
    assert (lower.access, lower.scopes) == ("read", ["a", "b"])
    fewer = services.reduce_connection(actor=by, connection=lower, kept_scopes=["a"], reason="One scope.")
    assert (fewer.access, fewer.scopes, fewer.lineage) == ("read", ["a"], connection.lineage)
    assert fewer.secret_source == connection.secret_source
    for terms, field in (
        ({"access": "write"}, "access"),
        ({"kept_scopes": []}, "kept_scopes"),
        ({"kept_scopes": ["a", "c"]}, "kept_scopes"),
        ({"kept_scopes": ["a"]}, "kept_scopes"),
        ({"access": "read"}, "kept_scopes"),
    ):
        error = refused(Invalid, services.reduce_connection, actor=by, connection=fewer, reason="Less.", **terms)
        assert list(error.fields) == [field], terms
    stranger = make.acting(make.person())
    refused(NotAllowed, services.reduce_connection, actor=stranger, connection=fewer, access="read", reason="Less.")


def test_an_edit_of_an_older_version_is_refused() -> None:
    grant = make.requested_grant()
    seen = grant.etag
    services.withdraw_relationship(actor=make.acting(grant.requested_by), relationship=grant)
    for act, facts in (
        (services.withdraw_relationship, {"relationship": grant}),
        (services.revoke_relationship, {"relationship": grant, "reason": "Enough."}),
    ):
        refused(Changed, act, actor=make.acting(grant.requested_by), expected_version=seen, **facts)


@pytest.mark.parametrize("end", ["withdrawn", "refused", "revoked", "expired"])
def test_what_has_ended_stays_ended(end: str) -> None:
    grant = make.grant() if end == "revoked" else make.requested_grant()
    security = make.acting(make.person("security"))
    if end == "withdrawn":
        services.withdraw_relationship(actor=make.acting(grant.requested_by), relationship=grant)
    elif end == "refused":
        services.refuse_relationship(actor=security, relationship=grant, reason="No.")
    elif end == "revoked":
        services.revoke_relationship(actor=security, relationship=grant, reason="No.")
    else:
        Grant.objects.filter(pk=grant.pk).update(valid_until=clock.now() - timedelta(seconds=1))
        assert services.expire_due(now=clock.now()) == 1
    refused(IllegalTransition, services.approve_grant, actor=security, grant=grant)
    for name in ("refuse", "suspend", "resume", "revoke"):
        act = getattr(services, f"{name}_relationship")
        refused(IllegalTransition, act, actor=security, relationship=grant, reason="Again.")
    refused(IllegalTransition, services.reduce_grant, actor=security, grant=grant, kept_tools=["query"], reason="x")
    refused(
        IllegalTransition,
        services.withdraw_relationship,
        actor=make.acting(grant.requested_by),
        relationship=grant,
    )


def test_the_database_refuses_to_delete_history() -> None:
    grant = make.requested_grant()
    with pytest.raises(ProgrammingError, match="Cannot delete"), transaction.atomic():
        Grant.objects.filter(pk=grant.pk)._raw_delete("default")


# --- Conclusions and the clock ---------------------------------------------------------------------------


def test_only_the_registry_writes_conclusions() -> None:
    grant = make.grant()
    security = make.acting(make.person("security", "reviewer", "administrator"))
    refused(NotAllowed, services.set_certified_until, actor=security, relationship=grant, until=soon())
    refused(NotAllowed, services.expire_due, now=clock.now(), actor=security)
    services.set_certified_until(actor=Actor.system("sign-off"), relationship=grant, until=soon())
    grant.refresh_from_db()
    assert grant.certified_until is not None
    services.revoke_relationship(actor=security, relationship=grant, reason="Enough.")
    refused(
        Conflict,
        services.set_certified_until,
        actor=Actor.system("sign-off"),
        relationship=grant,
        until=soon(),
    )


def test_the_clock_ends_what_is_over_and_nothing_else() -> None:
    asked, held, resting, going_on = make.requested_grant(), make.grant(), make.connection(), make.grant()
    services.suspend_relationship(actor=make.acting(resting.system.owner), relationship=resting, reason="Wait.")
    past = clock.now() - timedelta(seconds=1)
    Grant.objects.filter(pk__in=[asked.pk, held.pk]).update(valid_until=past)
    Connection.objects.filter(pk=resting.pk).update(valid_until=past)
    assert services.expire_due(now=clock.now(), limit=1) == 2  # one of each kind
    assert services.expire_due(now=clock.now()) == 1
    assert services.expire_due(now=clock.now()) == 0
    for thing in (asked, held, resting):
        thing.refresh_from_db()
        assert thing.status == Status.EXPIRED
        assert evidence(thing)[-1] == f"{thing.kind}.expired"
    going_on.refresh_from_db()
    assert going_on.status == Status.ACTIVE


def test_retirement_ends_what_hangs_on_it() -> None:
    grant, asked, connection, kept = make.grant(), make.requested_grant(), make.connection(), make.grant()
    catalog.retire_server(actor=make.acting(grant.server.owner), server=grant.server, reason="Replaced.")
    catalog.retire_agent(actor=make.acting(asked.agent.owner), agent=asked.agent, reason="Gone.")
    catalog.retire_system(actor=make.acting(connection.system.owner), system=connection.system, reason="Gone.")
    assert services.end_orphaned() == 3
    assert services.end_orphaned() == 0
    for thing, status in (
        (grant, Status.REVOKED),
        (asked, Status.WITHDRAWN),
        (connection, Status.REVOKED),
        (kept, Status.ACTIVE),
    ):
        thing.refresh_from_db()
        assert thing.status == status


def test_the_tier_follows_the_relationships() -> None:
    server = make.active_server()
    connection = make.connection(server=server, system=make.system(data_class="restricted"), access="admin")
    server.refresh_from_db()
    assert server.tier == "critical"
    assert {
        "fact": "data",
        "value": "restricted",
        "points": 40,
        "words": "Reaches restricted data",
    } in server.tier_factors
    services.revoke_relationship(actor=make.acting(server.owner), relationship=connection, reason="Not needed.")
    server.refresh_from_db()
    assert server.tier == "medium"
