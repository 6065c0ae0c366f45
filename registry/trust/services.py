"""Acts on trust relationships: asking, deciding, narrowing, ending.

Giving needs somebody independent; letting go needs only somebody concerned. Rows are locked in one order
everywhere, relationship before server, so that acts wait for each other but never in a circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from registry.audit.services import build_event, record, record_all
from registry.catalog import services as catalog
from registry.catalog.models import Agent, DataClass, SecretSource, Server, System, Tool, ToolClass
from registry.catalog.states import Lifecycle, Standing
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import among, set_each
from registry.core.errors import Conflict, IllegalTransition, Invalid, NotFound
from registry.core.events import publish
from registry.core.independence import require_decider, require_independent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent
from registry.trust.events import RelationshipChanged
from registry.trust.models import Combination, Connection, Grant, Observation, seen_by
from registry.trust.queries import latest_valid_until, tier_facts
from registry.trust.states import HELD, OPEN, RELATIONSHIP, Status
from registry.trust.tier import assess

TOKEN_LIFETIME_SECONDS = (60, 24 * 3600)
MAX_SCOPE_LENGTH = 200
MAX_TOOL_LENGTH = 128
MAX_LABEL_LENGTH = 100
ACCESS_ORDER = (Connection.Access.READ, Connection.Access.WRITE, Connection.Access.ADMIN)
CLOCK = Actor.system("expiry of trust relationships")
ASSESSOR = Actor.system("tier assessment")

R = TypeVar("R", Grant, Connection)


# --- Shared steps ----------------------------------------------------------------------------------------


def _locked(thing: R, expected_version: str | None = None) -> R:
    ends = ("agent", "agent__server") if isinstance(thing, Grant) else ("system", "secret_source")
    rows = type(thing)._default_manager.select_for_update(of=("self",)).select_related("server", *ends)
    fresh: R = rows.get(pk=thing.pk)
    fresh.check_version(expected_version)
    return fresh


def _locked_server(server: Server) -> Server:
    """The server as it is now; it cannot be suspended or retired before this transaction ends."""
    fresh: Server = Server.objects.select_for_update(of=("self",), no_key=True).get(pk=server.pk)
    return fresh


def _require_seen(actor: Actor, **things: Agent | Server | System) -> None:
    """What one may not see, one cannot ask for, nor learn of by asking."""
    for name, thing in things.items():
        if not seen_by(actor, type(thing)).filter(pk=thing.pk).exists():
            raise NotFound(fields={name: ["There is nothing here that you may see."]})


def _in_use(**things: Agent | Server | System) -> dict[str, list[str]]:
    """What has retired cannot be trusted with anything new."""
    errors = {}
    for name, thing in things.items():
        state = thing.lifecycle if isinstance(thing, Server) else thing.standing
        if state == "retired":
            errors[name] = [f"{thing} is retired."]
    return errors


def _validity_errors(valid_until: datetime, server: Server, now: datetime) -> dict[str, list[str]]:
    limit = latest_valid_until(server=server, now=now)
    if valid_until <= now:
        return {"valid_until": ["Choose an end in the future."]}
    if valid_until > limit.instant:
        return {"valid_until": [f"At the latest {limit.last_day:%d %B %Y}: {limit.because}."]}
    return {}


def _required_reason(reason: str) -> str:
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say why; whoever reads this in a year will ask."]})
    refuse_secrets({"reason": reason})
    return reason.strip()


def _distinct(values: Iterable[str]) -> list[str]:
    return sorted({value.strip() for value in values if value.strip()})


def _same_pair(thing: R) -> dict[str, Any]:
    """The two ends, as a filter: every version between the same two ends is one lineage."""
    if isinstance(thing, Grant):
        return {"agent_id": thing.agent_id, "server_id": thing.server_id}
    return {"server_id": thing.server_id, "system_id": thing.system_id}


def _store_request(actor: Actor, thing: R) -> R:
    """Save a new request; between two ends that already trust each other it asks to replace what they have."""
    held = type(thing)._default_manager.filter(status__in=HELD, **_same_pair(thing)).first()
    if held is not None:
        thing.lineage = held.lineage
    try:
        with transaction.atomic():
            thing.save(force_insert=True)
    except IntegrityError as error:
        if "requested_once" not in str(error):
            raise
        raise Conflict(
            f"A request for {thing} waits for a decision already; withdraw it to ask for something else."
        ) from error
    _written(actor, thing, "requested", {"replaces": str(held.pk) if held else None, **_terms(thing)})
    return thing


def _terms(thing: Grant | Connection) -> dict[str, Any]:
    """What is (to be) trusted, for the evidence."""
    common = {"valid_until": thing.valid_until, "reason": thing.reason}
    if isinstance(thing, Grant):
        return common | {
            "agent": thing.agent_id,
            "server": thing.server_id,
            "tools": thing.tools,
            "all_tools": thing.all_tools,
            "on_behalf_of": thing.on_behalf_of,
            "max_token_lifetime_seconds": thing.max_token_lifetime_seconds,
        }
    return common | {
        "server": thing.server_id,
        "system": thing.system_id,
        "access": thing.access,
        "scopes": thing.scopes,
        "secret_source": thing.secret_source_id,
    }


def _written(actor: Actor, thing: Grant | Connection, verb: str, data: dict[str, Any] | None = None) -> None:
    """Evidence, event, and the server's tier, which depends on its relationships."""
    record(actor=actor, act=f"{thing.kind}.{verb}", subject=thing, data=data)
    publish(RelationshipChanged(kind=thing.kind, id=thing.pk))
    if thing.status != Status.REQUESTED or thing.server.lifecycle in (Lifecycle.DRAFT, Lifecycle.SUBMITTED):
        # Of an active server only what was approved counts.
        assess_tiers(server_ids=[thing.server_id])


def _end(actor: Actor, thing: R, status: Status, reason: str, verb: str | None = None) -> R:
    """Move to a final state. What has ended is no longer certified; its certificate stays as history."""
    before = thing.status
    RELATIONSHIP.move(thing, status)
    thing.status_reason, thing.ended_at, thing.certified_until = reason, clock.now(), None
    thing.save()
    _written(actor, thing, verb or status, {"before": before, "reason": reason})
    return thing


def _decide(actor: Actor, thing: Grant | Connection) -> None:
    thing.decided_by, thing.decided_at = actor.user, clock.now()


# --- Asking ----------------------------------------------------------------------------------------------


@transaction.atomic
def request_grant(
    *,
    actor: Actor,
    agent: Agent,
    server: Server,
    tools: Sequence[str] = (),
    all_tools: bool = False,
    reason: str,
    valid_until: datetime,
    on_behalf_of: str = Grant.OnBehalfOf.USERS,
    behalf_detail: str = "",
    max_token_lifetime_seconds: int = 3600,
) -> Grant:
    """Ask that `agent` may call `tools` of `server`, for the server's current purpose, until `valid_until`.

    While an approved grant between the two exists, the request asks to replace it (wider, longer). Raises
    `NotFound` for what the actor may not see, `Invalid` by field, `Conflict` when a request waits already.
    """
    require(actor, "trust.request_grant")
    _require_seen(actor, agent=agent, server=server)
    names = _distinct(tools)
    refuse_secrets({"reason": reason, "behalf_detail": behalf_detail, "tools": names})
    errors = _in_use(agent=agent, server=server) | _validity_errors(valid_until, server, clock.now())
    errors |= _tool_errors(names, all_tools, server)
    if not reason.strip():
        errors["reason"] = ["Say why the agent needs this." if not all_tools else "Say why every tool is needed."]
    if on_behalf_of not in Grant.OnBehalfOf.values:
        errors["on_behalf_of"] = ["Choose on whose behalf the agent calls."]
    shortest, longest = TOKEN_LIFETIME_SECONDS
    if not shortest <= max_token_lifetime_seconds <= longest:
        errors["max_token_lifetime_seconds"] = [f"Between {shortest} seconds and {longest // 3600} hours."]
    if agent.server_id == server.pk:
        errors["agent"] = ["A server is not granted to itself."]
    if errors:
        raise Invalid(fields=errors)
    return _store_request(
        actor,
        Grant(
            agent=agent,
            server=server,
            tools=names,
            all_tools=all_tools,
            purpose=server.purpose,
            reason=reason.strip(),
            valid_until=valid_until,
            on_behalf_of=on_behalf_of,
            behalf_detail=behalf_detail.strip(),
            max_token_lifetime_seconds=max_token_lifetime_seconds,
            requested_by=actor.user,
        ),
    )


def _tool_errors(names: Sequence[str], all_tools: bool, server: Server) -> dict[str, list[str]]:
    if all_tools:
        return {"tools": ["Name tools or ask for every tool, not both."]} if names else {}
    if not names:
        return {"tools": ["Choose at least one tool."]}
    if long := [name for name in names if len(name) > MAX_TOOL_LENGTH]:
        return {"tools": [f"Not a tool name: {long[0][:40]}…"]}
    if unknown := _unlisted(names, server):
        return {"tools": [f"{server.label} does not list: {', '.join(unknown)}."]}
    return {}


def _unlisted(names: Iterable[str], server: Server) -> list[str]:
    """Names the server does not list; a server that lists nothing cannot be held against."""
    listed = set(Tool.objects.filter(server=server, retired_at=None).values_list("name", flat=True))
    return [name for name in names if name not in listed] if listed else []


def _unapproved(names: Iterable[str], server: Server) -> list[str]:
    """Named tools whose present definition no review approved (DESIGN, invariant 5)."""
    listed = Tool.objects.filter(server=server, retired_at=None, name__in=list(names))
    return list(listed.exclude(approved_digest=F("digest")).values_list("name", flat=True))


@transaction.atomic
def request_connection(
    *,
    actor: Actor,
    server: Server,
    system: System,
    access: str,
    scopes: Sequence[str] = (),
    reason: str,
    valid_until: datetime,
    secret_source: SecretSource | None = None,
) -> Connection:
    """Ask that `server` may act on `system`. A server's only secret source is taken when none is named.

    Raises like `request_grant`.
    """
    require(actor, "trust.request_connection")
    _require_seen(actor, server=server, system=system)
    names = _distinct(scopes)
    refuse_secrets({"reason": reason, "scopes": names})
    errors = _in_use(server=server, system=system) | _validity_errors(valid_until, server, clock.now())
    if access not in Connection.Access.values:
        errors["access"] = ["Choose read, write or admin."]
    if any(len(name) > MAX_SCOPE_LENGTH for name in names):
        errors["scopes"] = [f"A scope has at most {MAX_SCOPE_LENGTH} characters."]
    if not reason.strip():
        errors["reason"] = ["Say what the server does there."]
    if secret_source is None:
        secret_source = _only_source(server)
    else:
        errors |= _source_errors(secret_source, server)
    if errors:
        raise Invalid(fields=errors)
    return _store_request(
        actor,
        Connection(
            server=server,
            system=system,
            access=access,
            scopes=names,
            secret_source=secret_source,
            reason=reason.strip(),
            valid_until=valid_until,
            requested_by=actor.user,
        ),
    )


def _only_source(server: Server) -> SecretSource | None:
    sources = list(SecretSource.objects.filter(server=server, retired_at=None)[:2])
    return sources[0] if len(sources) == 1 else None


def _source_errors(source: SecretSource, server: Server) -> dict[str, list[str]]:
    if source.server_id != server.pk:
        return {"secret_source": ["This secret source belongs to another server."]}
    if source.retired_at is not None:
        return {"secret_source": ["This secret source is no longer used; choose another."]}
    others = SecretSource.objects.filter(server=server, retired_at=None).exclude(kind=SecretSource.Kind.NONE)
    if source.kind == SecretSource.Kind.NONE and others.exists():
        return {"secret_source": ["This server holds credentials; name the one it uses here."]}
    return {}


@transaction.atomic
def connect_secret_source(
    *, actor: Actor, connection: Connection, secret_source: SecretSource, expected_version: str | None = None
) -> Connection:
    """Name the credential a connection uses. A different one on an approved connection ends its certification."""
    require(actor, "trust.connect_secret_source", connection)
    connection = _locked(connection, expected_version)
    if not connection.is_open:
        raise IllegalTransition(f"This connection is {connection.status}; nothing about it changes any more.")
    if errors := _source_errors(secret_source, connection.server):
        raise Invalid(fields=errors)
    if connection.secret_source_id == secret_source.pk:
        return connection
    before, connection.secret_source = connection.secret_source_id, secret_source
    connection.certified_until = None
    connection.save()
    _written(actor, connection, "secret_source_connected", {"before": before, "after": secret_source.pk})
    return connection


@transaction.atomic
def withdraw_relationship(*, actor: Actor, relationship: R, expected_version: str | None = None) -> R:
    """Take one's own request back before it is decided."""
    require(actor, "trust.withdraw_relationship", relationship)
    return _end(actor, _locked(relationship, expected_version), Status.WITHDRAWN, "")


# --- Deciding --------------------------------------------------------------------------------------------


@transaction.atomic
def approve_grant(
    *, actor: Actor, grant: Grant, during_intake: bool = False, expected_version: str | None = None
) -> Grant:
    """Let an agent call a server: an independent reviewer's or security's act.

    `during_intake` is for the intake review alone, which approves what a server needs before it is active.
    Raises `NotIndependent` with every reason, `Conflict` when an end is not in service.
    """
    grant = _locked(grant, expected_version)
    require_decider(actor, "trust.approve_grant", grant)
    if unlisted := _unlisted(grant.tools, grant.server):
        raise Conflict(f"{grant.server.label} no longer lists: {', '.join(unlisted)}. Ask for what it lists now.")
    if not during_intake and (waiting := _unapproved(grant.tools, grant.server)):
        raise Conflict(f"Nobody approved the definition of {', '.join(waiting)} yet. Review the server first.")
    return _activate(actor, grant, during_intake, agent=grant.agent)


@transaction.atomic
def approve_connection(
    *, actor: Actor, connection: Connection, during_intake: bool = False, expected_version: str | None = None
) -> Connection:
    """Let a server act on a system: a reviewer's, security's or the system owner's act, if independent.

    Raises like `approve_grant`, and `Invalid` while no usable secret source is named.
    """
    connection = _locked(connection, expected_version)
    require_decider(actor, "trust.approve_connection", connection)
    if connection.secret_source is None:
        connection.secret_source = _only_source(connection.server)
    if connection.secret_source is None:
        raise Invalid(fields={"secret_source": ["Its owner has to name the secret source it uses first."]})
    if errors := _source_errors(connection.secret_source, connection.server):
        raise Invalid(fields=errors)
    return _activate(actor, connection, during_intake, system=connection.system)


def _activate(actor: Actor, thing: R, during_intake: bool, **other_end: Agent | System) -> R:
    RELATIONSHIP.check(thing.status, Status.ACTIVE)
    if thing.status != Status.REQUESTED:
        raise IllegalTransition(f"This {thing.kind} is {thing.status}; it does not wait for a decision.")
    server = _locked_server(thing.server)
    in_service = [Lifecycle.ACTIVE, *([Lifecycle.DRAFT, Lifecycle.SUBMITTED] if during_intake else [])]
    if server.lifecycle not in in_service:
        raise Conflict(f"{server.label} is {server.lifecycle}; only an active server is trusted with anything.")
    for end in other_end.values():
        if end.standing != Standing.ACTIVE:
            raise Conflict(f"{end} is retired.")
    now = clock.now()
    if errors := _validity_errors(thing.valid_until, server, now):
        raise Conflict(f"This request cannot be approved as it stands. {errors['valid_until'][0]}")
    held = (
        type(thing)
        ._default_manager.select_for_update(of=("self",))
        .filter(status__in=HELD, **_same_pair(thing))
        .first()
    )
    if held is not None:
        if held.status == Status.SUSPENDED:
            raise Conflict(f"{held} is suspended. Resume or revoke it before something replaces it.")
        thing.supersedes = held
        _end(actor, held, Status.REPLACED, "Replaced by an approved request.")
    RELATIONSHIP.move(thing, Status.ACTIVE)
    thing.activated_at = now
    _decide(actor, thing)
    thing.save()
    _written(actor, thing, "approved", _terms(thing) | {"during_intake": during_intake})
    return thing


@transaction.atomic
def refuse_relationship(*, actor: Actor, relationship: R, reason: str, expected_version: str | None = None) -> R:
    """Say no to a request. Saying no gives nothing away, so the people of the ends may do it as well."""
    require(actor, "trust.refuse_relationship", relationship)
    thing = _locked(relationship, expected_version)
    _decide(actor, thing)
    return _end(actor, thing, Status.REFUSED, _required_reason(reason))


# --- Narrowing and ending --------------------------------------------------------------------------------


@transaction.atomic
def suspend_relationship(*, actor: Actor, relationship: R, reason: str, expected_version: str | None = None) -> R:
    """Stop it, reversibly."""
    require(actor, "trust.suspend_relationship", relationship)
    require_recent(actor, _("Suspend a trust relationship"))
    thing = _locked(relationship, expected_version)
    before = thing.status
    RELATIONSHIP.move(thing, Status.SUSPENDED)
    thing.status_reason = _required_reason(reason)
    thing.save()
    _written(actor, thing, "suspended", {"before": before, "reason": thing.status_reason})
    return thing


@transaction.atomic
def resume_relationship(
    *, actor: Actor, relationship: R, reason: str, expected_version: str | None = None, by_review: bool = False
) -> R:
    """Give back what was suspended: security's act, and approving, hence by somebody independent.

    `by_review`: a review suspended it because nobody answered, and whom reviews let undo that (it has asked) gives it
    back. Independent they must be all the same.
    """
    thing = _locked(relationship, expected_version)
    if by_review:
        require_independent(actor, thing)
    else:
        require_decider(actor, "trust.resume_relationship", thing)
    if thing.status != Status.SUSPENDED:
        raise IllegalTransition(f"This {thing.kind} is {thing.status}, not suspended.")
    if thing.valid_until <= clock.now():
        raise Conflict("Its validity has ended; it has to be asked for again.")
    RELATIONSHIP.move(thing, Status.ACTIVE)
    thing.status_reason = _required_reason(reason)
    thing.save()
    _written(actor, thing, "resumed", {"reason": thing.status_reason})
    return thing


@transaction.atomic
def revoke_relationship(*, actor: Actor, relationship: R, reason: str, expected_version: str | None = None) -> R:
    """End it for good."""
    require(actor, "trust.revoke_relationship", relationship)
    require_recent(actor, _("Revoke a trust relationship"))
    return _end(actor, _locked(relationship, expected_version), Status.REVOKED, _required_reason(reason))


@transaction.atomic
def reduce_grant(
    *, actor: Actor, grant: Grant, kept_tools: Sequence[str], reason: str, expected_version: str | None = None
) -> Grant:
    """Keep only `kept_tools`: a strict, non-empty part of what is granted. Returns the narrower version.

    Raises `Invalid` when nothing would be kept (revoke instead), nothing taken away, or something added.
    """
    require(actor, "trust.reduce_relationship", grant)
    grant = _locked(grant, expected_version)
    kept = _distinct(kept_tools)
    granted = set(grant.tools)
    if grant.all_tools:
        granted = set(Tool.objects.filter(server=grant.server, retired_at=None).values_list("name", flat=True))
    if not kept:
        raise Invalid(fields={"kept_tools": ["Keep at least one tool, or revoke the grant."]})
    if more := [name for name in kept if name not in granted]:
        raise Invalid(fields={"kept_tools": [f"Not granted: {', '.join(more)}."]})
    # Naming every tool of a wildcard is narrower too: tools added later are no longer included.
    if not grant.all_tools and set(kept) == granted:
        raise Invalid(fields={"kept_tools": ["This keeps everything; leave at least one tool out."]})
    return _narrowed(actor, grant, reason, tools=kept, all_tools=False)


@transaction.atomic
def reduce_connection(
    *,
    actor: Actor,
    connection: Connection,
    kept_scopes: Sequence[str] | None = None,
    access: str | None = None,
    reason: str,
    expected_version: str | None = None,
) -> Connection:
    """Keep only `kept_scopes` and/or a lower `access`. Returns the narrower version.

    None leaves that side as it is. Raises `Invalid` unless at least one side shrinks and none grows.
    """
    require(actor, "trust.reduce_relationship", connection)
    connection = _locked(connection, expected_version)
    errors: dict[str, list[str]] = {}
    scopes = connection.scopes if kept_scopes is None else _distinct(kept_scopes)
    if more := [name for name in scopes if name not in connection.scopes]:
        errors["kept_scopes"] = [f"Not in the connection: {', '.join(more)}."]
    elif connection.scopes and not scopes:
        errors["kept_scopes"] = ["Keep at least one scope, or revoke the connection."]
    lower = access or connection.access
    if lower not in ACCESS_ORDER:
        errors["access"] = ["Choose read, write or admin."]
    elif ACCESS_ORDER.index(lower) > ACCESS_ORDER.index(connection.access):
        errors["access"] = [f"More than it has now ({connection.access}); ask for that with a new request."]
    elif not errors and set(scopes) == set(connection.scopes) and lower == connection.access:
        errors["kept_scopes"] = ["This keeps everything; leave something out or lower the access."]
    if errors:
        raise Invalid(fields=errors)
    return _narrowed(actor, connection, reason, scopes=scopes, access=lower)


_COPIED: dict[type[Any], tuple[str, ...]] = {
    Grant: ("agent_id", "purpose_id", "on_behalf_of", "behalf_detail", "max_token_lifetime_seconds"),
    Connection: ("system_id", "secret_source_id"),
}


def _narrowed(actor: Actor, thing: R, reason: str, **terms: Any) -> R:
    """End this version as reduced and start the narrower one, which nobody has certified yet.

    What rests stays at rest: narrowing gives nothing back.
    """
    reason = _required_reason(reason)
    before, status = {name: getattr(thing, name) for name in terms}, thing.status
    _end(actor, thing, Status.REDUCED, reason)
    copied = ["server_id", "lineage", "reason", "valid_until", "requested_by_id", *_COPIED[type(thing)]]
    narrower = type(thing)(
        **{name: getattr(thing, name) for name in copied},
        **terms,
        supersedes=thing,
        status=status,
        status_reason=reason,
        activated_at=clock.now(),
    )
    _decide(actor, narrower)
    narrower.save(force_insert=True)
    _written(actor, narrower, "narrowed", {"before": before, "after": terms, "supersedes": thing.pk})
    return narrower


# --- Conclusions and the clock ---------------------------------------------------------------------------


@transaction.atomic
def set_certified_until(*, actor: Actor, relationship: R, until: datetime | None) -> R:
    """Mirror a relationship's certificate, or its end with None. Called by reviews only."""
    require(actor, "trust.set_conclusions", relationship)
    thing = _locked(relationship)
    if until is not None and thing.status not in HELD:
        raise Conflict(f"{thing} is {thing.status}; only what is in force can be certified.")
    if thing.certified_until != until:
        before, thing.certified_until = thing.certified_until, until
        thing.save(update_fields=["certified_until"])
        record(
            actor=actor,
            act=f"{thing.kind}.certified_until_set",
            subject=thing,
            data={"before": before, "after": until},
        )
    return thing


_NAMES: Mapping[type[Any], Sequence[str]] = {
    Grant: ("agent__name", "server__name", "server__title"),
    Connection: ("server__name", "server__title", "system__name"),
}
"""What a relationship needs to say what it is; its ends are large rows, which thousands may share."""


@transaction.atomic
def set_certified_until_of(
    *, actor: Actor, model: type[Grant] | type[Connection], until: Mapping[UUID, datetime | None]
) -> int:
    """`set_certified_until` for many relationships of one kind at once. Returns how many differed."""
    require(actor, "trust.set_conclusions")
    held = model.objects.select_for_update(of=("self",)).filter(pk__in=among(until)).order_by("pk")
    ends = ("agent", "server") if model is Grant else ("server", "system")
    rows = list(held.select_related(*ends).only("status", "certified_until", "version", *ends, *_NAMES[model]))
    if gone := [thing for thing in rows if until[thing.pk] is not None and thing.status not in HELD]:
        raise Conflict(f"{gone[0]} is {gone[0].status}; only what is in force can be certified.")
    now, changed, events = clock.now(), [], []
    for thing in rows:
        before, after = thing.certified_until, until[thing.pk]
        if before != after:
            thing.certified_until, thing.version, thing.updated_at = after, thing.version + 1, now
            changed.append(thing)
            data = {"before": before, "after": after}
            events.append(build_event(actor=actor, act=f"{thing.kind}.certified_until_set", subject=thing, data=data))
    set_each(model, "certified_until", {thing.pk: thing.certified_until for thing in changed}, edited_at=now)
    record_all(events)
    return len(changed)


def expire_due(*, now: datetime, limit: int = 500, actor: Actor = CLOCK) -> int:
    """End what is past its validity, at most `limit` of each kind. Returns how many ended."""
    return _sweep(actor, limit, Status.EXPIRED, "Its validity ended.", valid_until__lte=now)


def end_orphaned(*, limit: int = 500, actor: Actor = CLOCK) -> int:
    """End what has lost one of its ends to retirement: a retired thing is trusted with nothing."""
    ended = _sweep(actor, limit, None, "The server was retired.", server__lifecycle=Lifecycle.RETIRED)
    for model, end in ((Grant, "agent"), (Connection, "system")):
        retired = {f"{end}__standing": Standing.RETIRED}
        ended += _sweep(actor, limit, None, f"The {end} was retired.", models=(model,), **retired)
    return ended


@transaction.atomic
def _sweep(
    actor: Actor,
    limit: int,
    status: Status | None,
    reason: str,
    *,
    models: Sequence[type[Grant] | type[Connection]] = (Grant, Connection),
    **due: Any,
) -> int:
    """End every open relationship that `due` matches; rows somebody else works on wait for the next sweep."""
    require(actor, "trust.set_conclusions")
    ended = 0
    for model in models:
        rows = model.objects.select_for_update(of=("self",), skip_locked=True).select_related("server")
        # Ordered by server, so that two sweeps take the servers' locks in the same order.
        for thing in rows.filter(status__in=OPEN, **due).order_by("server_id", "pk")[:limit]:
            gone = Status.WITHDRAWN if thing.status == Status.REQUESTED else Status.REVOKED
            _end(actor, thing, status or gone, reason)
            ended += 1
    return ended


def assess_tiers(*, server_ids: Sequence[UUID]) -> int:
    """Compute the tiers of these servers and write down those that differ. Returns how many were compared."""
    facts = tier_facts(server_ids=server_ids)
    for server, known in facts:
        tier, factors = assess(known)
        stored = [factor.as_json() for factor in factors]
        if server.tier_factors != stored or (not server.tier_override and server.tier != tier):
            catalog.set_tier(actor=ASSESSOR, server=server, tier=tier, factors=stored)
    return len(facts)


# --- Toxic combinations ----------------------------------------------------------------------------------

LEG_CHOICES: Mapping[str, Sequence[str]] = {
    "tool_classes": ToolClass.values,
    "system_kinds": System.Kind.values,
    "data_classes": DataClass.values,
    "access": Connection.Access.values,
}
LEGS = (2, 6)


@transaction.atomic
def create_combination(*, actor: Actor, name: str, explanation: str, legs: Sequence[Mapping[str, Any]]) -> Combination:
    """Say that no agent should meet all of these legs. Raises `Invalid` by field (`legs.0.access`)."""
    require(actor, "trust.manage_combinations")
    made = Combination(**_combination_facts(name, explanation, legs))
    _store_combination(made)
    record(actor=actor, act="combination.created", subject=made, data=_combination_terms(made))
    return made


@transaction.atomic
def change_combination(
    *,
    actor: Actor,
    combination: Combination,
    name: str,
    explanation: str,
    legs: Sequence[Mapping[str, Any]],
    expected_version: str | None = None,
) -> Combination:
    """Say it differently, all of it. Raises like `create_combination`, and `Changed`."""
    require(actor, "trust.manage_combinations", combination)
    combination = _locked_combination(combination, expected_version)
    before = _combination_terms(combination)
    for field, value in _combination_facts(name, explanation, legs).items():
        setattr(combination, field, value)
    if _combination_terms(combination) == before:
        return combination
    _store_combination(combination)
    data = {"before": before, "after": _combination_terms(combination)}
    record(actor=actor, act="combination.changed", subject=combination, data=data)
    return combination


@transaction.atomic
def retire_combination(
    *, actor: Actor, combination: Combination, reason: str, expected_version: str | None = None
) -> Combination:
    """Look for it no longer. It stays on record."""
    require(actor, "trust.manage_combinations", combination)
    require_recent(actor, _("Retire a combination"))
    combination = _locked_combination(combination, expected_version)
    why = _required_reason(reason)
    combination.retired_at = clock.now()
    combination.save()
    record(actor=actor, act="combination.retired", subject=combination, data={"reason": why})
    return combination


def _locked_combination(combination: Combination, expected_version: str | None) -> Combination:
    fresh = Combination.objects.select_for_update(of=("self",)).get(pk=combination.pk)
    fresh.check_version(expected_version)
    if fresh.retired_at is not None:
        raise IllegalTransition("This combination is retired; nothing about it changes any more.")
    return fresh


def _store_combination(combination: Combination) -> None:
    try:
        with transaction.atomic():
            combination.save()
    except IntegrityError as error:
        if "name" not in str(error):
            raise
        raise Invalid(fields={"name": ["There is a combination of this name already."]}) from error


def _combination_terms(combination: Combination) -> dict[str, Any]:
    return {"name": combination.name, "explanation": combination.explanation, "legs": combination.legs}


def _combination_facts(name: str, explanation: str, legs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    refuse_secrets({"name": name, "explanation": explanation, "legs": [dict(leg) for leg in legs]})
    errors: dict[str, list[str]] = {}
    for field, text, longest in (("name", name, 100), ("explanation", explanation, 2000)):
        if not text.strip():
            errors[field] = ["Say it in words."]
        elif len(text.strip()) > longest:
            errors[field] = [f"At most {longest} characters."]
    fewest, most = LEGS
    if not fewest <= len(legs) <= most:
        errors["legs"] = [f"Name {fewest} to {most} legs; one alone is no combination."]
    made = []
    for number, leg in enumerate(legs):
        facts, wrong = _leg(leg)
        errors |= {f"legs.{number}.{field}": messages for field, messages in wrong.items()}
        made.append(facts)
    if errors:
        raise Invalid(fields=errors)
    return {"name": name.strip(), "explanation": explanation.strip(), "legs": made}


def _leg(leg: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The leg as it is stored, and what is wrong with it by field."""
    label = str(leg.get("label", "")).strip()
    facts: dict[str, Any] = {"label": label}
    errors = {field: ["A leg knows no such field."] for field in set(leg) - {"label", "open_world", *LEG_CHOICES}}
    if not 0 < len(label) <= MAX_LABEL_LENGTH:
        errors["label"] = [f"Say what this leg is, in 1 to {MAX_LABEL_LENGTH} characters."]
    for field, choices in LEG_CHOICES.items():
        values = leg.get(field) or []
        if not isinstance(values, list) or any(value not in choices for value in values):
            errors[field] = [f"Choose from: {', '.join(choices)}."]
        elif values:
            facts[field] = [value for value in choices if value in values]
    if leg.get("open_world"):
        facts["open_world"] = True
    if len(facts) == 1 and not errors:
        errors["label"] = ["Name at least one thing a path must meet; otherwise every agent meets this leg."]
    return facts, errors


# --- Observations ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Observed:
    """Use of a server (and, when known, of a system behind it) by an agent, within the period that begins then."""

    agent_id: UUID
    server_id: UUID
    period: date
    first_used: datetime
    last_used: datetime
    calls: int
    errors: int = 0
    system_id: UUID | None = None


@transaction.atomic
def record_observations(*, actor: Actor, rows: Sequence[Observed]) -> int:
    """Keep what was seen in use. A period that is reported again gets its figures replaced; so repeating is harmless.

    Returns how many rows there were. Raises `Invalid` for what does not add up or names nothing we know.
    """
    require(actor, "trust.record_observations")
    errors: dict[str, list[str]] = {}
    for place, row in enumerate(rows):
        if not 0 <= row.errors <= row.calls or not row.calls:
            errors[f"{place}.calls"] = ["At least one call, and no more errors than calls."]
        if row.first_used > row.last_used:
            errors[f"{place}.last_used"] = ["Not before it was first used."]
    known: Mapping[str, tuple[Any, set[UUID]]] = {
        "agent": (Agent, {row.agent_id for row in rows}),
        "server": (Server, {row.server_id for row in rows}),
        "system": (System, {row.system_id for row in rows if row.system_id}),
    }
    missing = {
        kind: ids - set(model.objects.filter(pk__in=ids).values_list("pk", flat=True))
        for kind, (model, ids) in known.items()
    }
    for place, row in enumerate(rows):
        for kind, ids in missing.items():
            if getattr(row, f"{kind}_id") in ids:
                errors[f"{place}.{kind}"] = [f"There is no such {kind}."]
    if errors:
        raise Invalid(fields=errors)
    if not rows:
        return 0
    Observation.objects.bulk_create(
        [Observation(**asdict(row)) for row in rows],
        update_conflicts=True,
        unique_fields=["agent", "server", "system", "period"],
        update_fields=["first_used", "last_used", "calls", "errors", "updated_at"],
        batch_size=2000,
    )
    first = Observation.objects.filter(agent=rows[0].agent_id, server=rows[0].server_id, period=rows[0].period)[0]
    record(actor=actor, act="observations.recorded", subject=first, data={"rows": len(rows)})
    return len(rows)
