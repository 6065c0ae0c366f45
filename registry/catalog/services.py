"""Acts on the catalog. Each requires its permission, runs in one transaction and writes its evidence."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar
from urllib.parse import urlsplit, urlunsplit

from django.core.exceptions import ValidationError
from django.db import models, transaction

from registry.accounts.models import Team, User
from registry.audit.services import record
from registry.catalog.events import (
    AgentChanged,
    ServerChanged,
    ServerRetired,
    ServerSubmitted,
    ServerWithdrawn,
    SystemChanged,
)
from registry.catalog.models import (
    Agent,
    DataClass,
    Endpoint,
    Governed,
    Issuer,
    Purpose,
    RevocationStep,
    SecretSource,
    Server,
    System,
    Tier,
    Tool,
    ToolClass,
    Transport,
)
from registry.catalog.queries import completeness
from registry.catalog.states import SERVER, STANDING, Lifecycle, Standing
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Conflict, IllegalTransition, Invalid
from registry.core.events import publish
from registry.core.independence import require_independent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets

MAX_PURPOSE_DAYS = 730
R = TypeVar("R", bound=models.Model)


class InputFacts(TypedDict, total=False):
    """A declared environment variable, header or argument; never its value."""

    name: str
    placed_in: str
    required: bool
    secret: bool


class EndpointFacts(TypedDict, total=False):
    transport: str
    url: str
    package_registry: str
    package_identifier: str
    package_version: str
    package_sha256: str
    inputs: Sequence[InputFacts]


class ToolFacts(TypedDict, total=False):
    name: str
    title: str
    description: str
    definition: Mapping[str, Any]
    claimed_class: str
    confirmed_class: str


class SecretSourceFacts(TypedDict, total=False):
    kind: str
    reference: str
    name: str
    credential_type: str
    max_lifetime_seconds: int | None
    rotation_interval_days: int | None
    last_rotated_on: date | None
    revocable_by: str
    reason: str


class StepFacts(TypedDict, total=False):
    instruction: str
    executor: str
    responsible: str
    expected_minutes: int


class ImportOutcome(NamedTuple):
    outcome: Literal["imported", "updated", "skipped"]
    server: Server
    reasons: list[str]


# --- Shared steps ----------------------------------------------------------------------------------------


def _validated(thing: R, *, prefix: str = "", exclude: Iterable[str] = ()) -> R:
    """Field and uniqueness checks of the model, as `Invalid` with our field names."""
    try:
        thing.full_clean(exclude=set(exclude))
    except ValidationError as error:
        fields = {
            f"{prefix}{'' if name == '__all__' else name}".rstrip("."): [str(message) for message in messages]
            for name, messages in error.message_dict.items()
        }
        raise Invalid(fields=fields) from error
    return thing


def _locked_server(server: Server, expected_version: str | None = None) -> Server:
    fresh = Server.objects.select_for_update(of=("self",)).select_related("owner", "deputy", "team").get(pk=server.pk)
    fresh.check_version(expected_version)
    return fresh  # type: ignore[no-any-return]


def _editable(actor: Actor, server: Server, expected_version: str | None) -> Server:
    """Lock a server for an edit. Retired servers and those in front of a reviewer stand still."""
    fresh = _locked_server(server, expected_version)
    require(actor, "catalog.edit_server", fresh)
    if fresh.lifecycle == Lifecycle.RETIRED:
        raise Conflict("This server is retired; nothing about it changes any more.")
    if fresh.lifecycle == Lifecycle.SUBMITTED:
        raise Conflict("This server is in front of a reviewer. Withdraw it to change something.")
    return fresh


def _changed(actor: Actor, server: Server, act: str, data: Mapping[str, Any] | None = None) -> None:
    """Touch the server (its ETag covers its parts), write the evidence, tell upper rooms."""
    server.save()
    record(actor=actor, act=act, subject=server, data=data)
    publish(ServerChanged(server_id=server.pk))


def canonical_url(url: str) -> str:
    """Lower-case scheme and host, no fragment, no trailing slash (RFC 8707, MCP authorization).

    The query stays: it selects tools and tenants on real servers.
    """
    parts = urlsplit(url.strip())
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path.rstrip("/"), parts.query, ""))


def canonical_uri(endpoint: EndpointFacts) -> str:
    """What logs and gateways name: the canonical URL, or `npm:@scope/name@1.2.3`."""
    if endpoint.get("url"):
        return canonical_url(endpoint["url"])
    version = endpoint.get("package_version", "")
    registry = endpoint.get("package_registry", "") or "package"
    return f"{registry}:{endpoint.get('package_identifier', '')}" + (f"@{version}" if version else "")


def tool_digest(tool: ToolFacts) -> str:
    """SHA-256 over the canonical JSON of what a caller is shown of the tool (`_meta` and icons stay out)."""
    definition = tool.get("definition") or {}
    shown = {key: definition[key] for key in ("inputSchema", "outputSchema", "annotations") if key in definition}
    return digest(
        {
            "name": tool["name"],
            "title": tool.get("title", ""),
            "description": tool.get("description", ""),
            **shown,
        }
    )


# --- Servers: identity, people, purpose, parts -----------------------------------------------------------


@transaction.atomic
def register_server(
    *,
    actor: Actor,
    name: str,
    title: str = "",
    description: str = "",
    environment: str = "production",
    release: str = "",
    website_url: str = "",
    repository_url: str = "",
    confidential: bool = False,
    endpoints: Sequence[EndpointFacts] = (),
) -> Server:
    """Start a draft. Raises `Invalid` for a name that is taken or malformed, `SecretRefused` for secret values."""
    require(actor, "catalog.register_server")
    facts = {
        "name": name.strip(),
        "title": title.strip(),
        "description": description.strip(),
        "environment": environment,
        "release": release.strip(),
        "website_url": website_url.strip(),
        "repository_url": repository_url.strip(),
    }
    refuse_secrets(facts)
    server = _validated(Server(**facts, confidential=confidential, created_by=actor.user))
    server.save(force_insert=True)
    _write_endpoints(server, endpoints)
    record(actor=actor, act="server.registered", subject=server, data=facts)
    publish(ServerChanged(server_id=server.pk))
    return server


@transaction.atomic
def update_identity(*, actor: Actor, server: Server, expected_version: str | None = None, **facts: Any) -> Server:
    """Change name (drafts only), title, description, environment, release, URLs or the confidential mark."""
    server = _editable(actor, server, expected_version)
    allowed = {
        "name", "title", "description", "environment", "release", "website_url", "repository_url", "confidential",
    }  # fmt: skip
    if unknown := set(facts) - allowed:
        raise Invalid(fields={name: ["This cannot be changed here."] for name in unknown})
    if facts.get("name", server.name) != server.name and server.lifecycle != Lifecycle.DRAFT:
        raise Conflict("The name of a server that was activated is final.", fields={"name": ["Final."]})
    refuse_secrets({name: value for name, value in facts.items() if isinstance(value, str)})
    before = {name: getattr(server, name) for name in facts}
    for name, value in facts.items():
        setattr(server, name, value.strip() if isinstance(value, str) else value)
    _validated(server)
    after = {name: getattr(server, name) for name in facts}
    if before != after:
        _changed(actor, server, "server.identity_changed", {"before": before, "after": after})
    return server


@transaction.atomic
def set_endpoints(
    *, actor: Actor, server: Server, endpoints: Sequence[EndpointFacts], expected_version: str | None = None
) -> Server:
    """Declare the ways to reach a server. Endpoints no longer named retire; the same ones stay as they are."""
    server = _editable(actor, server, expected_version)
    if _write_endpoints(server, endpoints):
        uris = [canonical_uri(endpoint) for endpoint in endpoints]
        _changed(actor, server, "server.endpoints_set", {"endpoints": uris})
    return server


def _write_endpoints(server: Server, endpoints: Sequence[EndpointFacts]) -> bool:
    wanted: dict[str, Endpoint] = {}
    for index, facts in enumerate(endpoints):
        prefix = f"endpoints.{index}."
        refuse_secrets({f"{prefix}{key}": value for key, value in facts.items() if isinstance(value, str)})
        url = facts.get("url", "").strip()
        if url and urlsplit(url).scheme.lower() not in ("http", "https"):
            raise Invalid(fields={f"{prefix}url": ["Give an http or https address."]})
        if not url and not facts.get("package_identifier"):
            raise Invalid(fields={f"{prefix}url": ["Give a URL or a package."]})
        if not url and facts.get("transport", "") not in ("", Transport.STDIO) and not facts.get("package_identifier"):
            raise Invalid(fields={f"{prefix}transport": ["This transport needs a URL."]})
        uri = canonical_uri(facts)
        if uri in wanted:
            raise Invalid(fields={f"{prefix}url": [f"{uri} is listed twice."]})
        wanted[uri] = _validated(
            Endpoint(
                server=server,
                transport=facts.get("transport") or (Transport.STREAMABLE_HTTP if url else Transport.STDIO),
                url=url,
                package_registry=facts.get("package_registry", ""),
                package_identifier=facts.get("package_identifier", ""),
                package_version=facts.get("package_version", ""),
                package_sha256=facts.get("package_sha256", ""),
                canonical_uri=uri,
                inputs=list(facts.get("inputs", ())),
            ),
            prefix=prefix,
            exclude=["server"],
        )
    current = {endpoint.canonical_uri: endpoint for endpoint in server.endpoints.filter(retired_at=None)}
    changed = False
    for uri, endpoint in current.items():
        if uri not in wanted:
            endpoint.retired_at = clock.now()
            endpoint.save()
            changed = True
    for uri, endpoint in wanted.items():
        kept = current.get(uri)
        if kept is None:
            endpoint.save(force_insert=True)
            changed = True
        elif (kept.transport, kept.package_sha256, kept.inputs) != (
            endpoint.transport, endpoint.package_sha256, endpoint.inputs,
        ):  # fmt: skip
            kept.transport, kept.package_sha256, kept.inputs = (
                endpoint.transport, endpoint.package_sha256, endpoint.inputs,
            )  # fmt: skip
            kept.save()
            changed = True
    return changed


@transaction.atomic
def assign_people(
    *,
    actor: Actor,
    server: Server,
    owner: User | None,
    deputy: User | None,
    team: Team | None,
    expected_version: str | None = None,
) -> Server:
    """Name who answers for a server. A new owner has to accept; naming oneself accepts at once."""
    server = _editable(actor, server, expected_version)
    errors: dict[str, list[str]] = {}
    if owner is not None and owner == deputy:
        errors["deputy"] = ["The deputy must be somebody other than the owner."]
    for name, person in (("owner", owner), ("deputy", deputy)):
        if person is not None and not person.is_active:
            errors[name] = [f"{person} is no longer active."]
    in_use = server.lifecycle != Lifecycle.DRAFT
    if in_use:
        for name, value in (("owner", owner), ("deputy", deputy), ("team", team)):
            if value is None:
                errors[name] = [f"A server in use needs its {name}."]
        if owner is not None and owner.pk != server.owner_id and not actor.is_person(owner.pk):
            errors["owner"] = ["A server in use changes hands by the new owner: they take it over themselves."]
    if errors:
        raise Invalid(fields=errors)
    before = {"owner": server.owner_id, "deputy": server.deputy_id, "team": server.team_id}
    if owner is None or owner.pk != server.owner_id:
        server.owner_accepted_at = None
    server.owner, server.deputy, server.team = owner, deputy, team
    if owner is not None and server.owner_accepted_at is None and actor.is_person(owner.pk):
        server.owner_accepted_at = clock.now()
    after = {"owner": server.owner_id, "deputy": server.deputy_id, "team": server.team_id}
    if before != after or (in_use and server.owner_accepted_at is None):
        _changed(actor, server, "server.people_assigned", {"before": before, "after": after})
    else:
        server.save()
    return server


@transaction.atomic
def accept_ownership(*, actor: Actor, server: Server) -> Server:
    server = _locked_server(server)
    require(actor, "catalog.accept_ownership", server)
    if server.owner_accepted_at is not None:
        raise Conflict("You accepted ownership already.")
    server.owner_accepted_at = clock.now()
    _changed(actor, server, "server.ownership_accepted")
    return server


@transaction.atomic
def set_purpose(
    *,
    actor: Actor,
    server: Server,
    statement: str,
    in_scope: Sequence[str],
    out_of_scope: Sequence[str],
    data_classes: Sequence[str],
    ends_on: date | None,
    expected_version: str | None = None,
) -> Purpose:
    """Bound what a server is for. A purpose is immutable: a different one gets the next number."""
    server = _editable(actor, server, expected_version)
    facts = {
        "statement": statement.strip(),
        "in_scope": [line.strip() for line in in_scope if line.strip()],
        "out_of_scope": [line.strip() for line in out_of_scope if line.strip()],
        "data_classes": sorted(set(data_classes), key=lambda name: name),
        "ends_on": ends_on,
    }
    refuse_secrets({name: facts[name] for name in ("statement", "in_scope", "out_of_scope")})
    errors: dict[str, list[str]] = {}
    if not facts["statement"]:
        errors["statement"] = ["Say in one or two sentences what this server is for."]
    if not facts["data_classes"]:
        errors["data_classes"] = ["Choose every class of data that may pass through."]
    elif unknown := [name for name in data_classes if name not in DataClass.values]:
        errors["data_classes"] = [f"Not a data class: {', '.join(unknown)}."]
    if ends_on is None:
        errors["ends_on"] = ["Every purpose ends; choose the date on which it must be thought over."]
    elif ends_on <= clock.today():
        errors["ends_on"] = ["Choose a date in the future."]
    elif (ends_on - clock.today()).days > MAX_PURPOSE_DAYS:
        errors["ends_on"] = [f"At most {MAX_PURPOSE_DAYS} days from today."]
    if errors:
        raise Invalid(fields=errors)
    current = server.purpose
    if current is not None and all(getattr(current, name) == value for name, value in facts.items()):
        return current
    purpose = Purpose(server=server, number=current.number + 1 if current else 1, created_by=actor.user, **facts)
    _validated(purpose, exclude=["server"]).save(force_insert=True)
    _changed(actor, server, "server.purpose_set", {"number": purpose.number, **facts})
    return purpose


@transaction.atomic
def set_tools(
    *, actor: Actor, server: Server, tools: Sequence[ToolFacts], expected_version: str | None = None
) -> Server:
    """Declare the tools of a server with the class their owner confirms. Tools no longer named retire.

    A definition that differs from the approved one stays unapproved until a review approves it (invariant 5).
    """
    server = _editable(actor, server, expected_version)
    if _write_tools(server, tools):
        names = [tool["name"] for tool in tools]
        _changed(actor, server, "server.tools_set", {"tools": names})
    return server


def _write_tools(server: Server, tools: Sequence[ToolFacts]) -> bool:
    wanted: dict[str, ToolFacts] = {}
    for index, facts in enumerate(tools):
        prefix = f"tools.{index}."
        name = facts.get("name", "").strip()
        if not name:
            raise Invalid(fields={f"{prefix}name": ["Give the tool's name exactly as the server lists it."]})
        if name in wanted:
            raise Invalid(fields={f"{prefix}name": [f"{name} is listed twice."]})
        for key in ("claimed_class", "confirmed_class"):
            if facts.get(key, "") not in ("", *ToolClass.values):
                raise Invalid(fields={f"{prefix}{key}": ["Choose read, write, destructive or execute."]})
        refuse_secrets(
            {
                f"{prefix}name": name,
                f"{prefix}title": facts.get("title", ""),
                f"{prefix}description": facts.get("description", ""),
                f"{prefix}definition": facts.get("definition", {}),
            }
        )
        wanted[name] = {**facts, "name": name}
    current = {tool.name: tool for tool in server.tools.filter(retired_at=None)}
    changed = False
    for name, tool in current.items():
        if name not in wanted:
            tool.retired_at = clock.now()
            tool.save()
            changed = True
    for index, (name, facts) in enumerate(wanted.items()):
        tool = current.get(name) or Tool(server=server, name=name)
        before = (
            tool.title,
            tool.description,
            tool.definition,
            tool.claimed_class,
            tool.confirmed_class,
            tool.digest,
        )
        # What a form does not send stays: people confirm classes, they do not retype schemas.
        for key in ("title", "description", "claimed_class", "confirmed_class"):
            if key in facts:
                setattr(tool, key, facts[key])  # type: ignore[literal-required]
        if "definition" in facts:
            tool.definition = dict(facts["definition"])
        tool.digest = tool_digest(
            {
                "name": name,
                "title": tool.title,
                "description": tool.description,
                "definition": tool.definition,
            }
        )
        after = (
            tool.title,
            tool.description,
            tool.definition,
            tool.claimed_class,
            tool.confirmed_class,
            tool.digest,
        )
        if tool._state.adding or before != after:
            _validated(tool, prefix=f"tools.{index}.", exclude=["server"]).save()
            changed = True
    return changed


@transaction.atomic
def approve_tools(*, actor: Actor, server: Server) -> int:
    """Pin the digests of every listed tool. Called by a review's sign-off; returns how many changed."""
    require(actor, "catalog.decide_intake", server)
    require_independent(actor, server)
    pending = [tool for tool in server.tools.filter(retired_at=None) if not tool.approved]
    for tool in pending:
        tool.approved_digest, tool.approved_at = tool.digest, clock.now()
        tool.save(update_fields=["approved_digest", "approved_at"])
    if pending:
        record(
            actor=actor,
            act="server.tools_approved",
            subject=server,
            data={"tools": {tool.name: tool.digest for tool in pending}},
        )
        publish(ServerChanged(server_id=server.pk))
    return len(pending)


@transaction.atomic
def set_secret_sources(
    *, actor: Actor, server: Server, sources: Sequence[SecretSourceFacts], expected_version: str | None = None
) -> Server:
    """Document where credentials come from. A source is the same while kind, reference and name are."""
    server = _editable(actor, server, expected_version)
    wanted: dict[tuple[str, str, str], SecretSource] = {}
    for index, facts in enumerate(sources):
        prefix = f"sources.{index}."
        refuse_secrets({f"{prefix}{key}": value for key, value in facts.items() if isinstance(value, str)})
        none = facts.get("kind") == SecretSource.Kind.NONE
        if none and not facts.get("reason", "").strip():
            raise Invalid(fields={f"{prefix}reason": ["Say why this server needs no credential."]})
        if not none and not facts.get("reference", "").strip():
            raise Invalid(fields={f"{prefix}reference": ["Name where the credential is kept, not the credential."]})
        if not none and not facts.get("credential_type"):
            raise Invalid(fields={f"{prefix}credential_type": ["Choose how long the credential lives."]})
        source = _validated(SecretSource(server=server, **facts), prefix=prefix, exclude=["server"])
        key = (source.kind, source.reference, source.name)
        if key in wanted:
            raise Invalid(fields={f"{prefix}reference": ["This source is listed twice."]})
        wanted[key] = source
    if len(wanted) > 1 and any(kind == SecretSource.Kind.NONE for kind, _, _ in wanted):
        raise Invalid(fields={"sources": ["'No credential' stands alone; remove it or the others."]})
    current = {
        (source.kind, source.reference, source.name): source for source in server.secret_sources.filter(retired_at=None)
    }
    changed = False
    for key, source in current.items():
        if key not in wanted:
            source.retired_at = clock.now()
            source.save()
            changed = True
    facts_of = (
        "credential_type", "max_lifetime_seconds", "rotation_interval_days", "last_rotated_on", "revocable_by", "reason",
    )  # fmt: skip
    for key, source in wanted.items():
        kept = current.get(key)
        if kept is None:
            source.save(force_insert=True)
            changed = True
        elif any(getattr(kept, name) != getattr(source, name) for name in facts_of):
            for name in facts_of:
                setattr(kept, name, getattr(source, name))
            kept.save()
            changed = True
    if changed:
        described = [[source.kind, source.reference, source.credential_type] for source in wanted.values()]
        _changed(actor, server, "server.secret_sources_set", {"sources": described})
    return server


@transaction.atomic
def set_revocation_path(
    *, actor: Actor, server: Server, steps: Sequence[StepFacts], expected_version: str | None = None
) -> Server:
    """Write down, in order, how this server is cut off. The whole path is replaced; the old steps stay as history."""
    server = _editable(actor, server, expected_version)
    rows = []
    for position, facts in enumerate(steps, 1):
        prefix = f"steps.{position - 1}."
        refuse_secrets({f"{prefix}{key}": value for key, value in facts.items() if isinstance(value, str)})
        step = RevocationStep(server=server, position=position, **facts)
        rows.append(_validated(step, prefix=prefix, exclude=["server", "position"]))
    names = ("instruction", "executor", "responsible", "expected_minutes")
    current = list(server.revocation_steps.filter(retired_at=None))
    if [[getattr(step, name) for name in names] for step in current] == [
        [getattr(step, name) for name in names] for step in rows
    ]:
        return server
    for step in current:
        step.retired_at = clock.now()
        step.save()
    for step in rows:
        step.save(force_insert=True)
    _changed(actor, server, "server.revocation_path_set", {"steps": [step.instruction for step in rows]})
    return server


# --- Servers: lifecycle ----------------------------------------------------------------------------------


def _move(actor: Actor, server: Server, after: Lifecycle, act: str, reason: str = "") -> None:
    before = server.lifecycle
    SERVER.move(server, after, field="lifecycle")
    server.lifecycle_reason = reason
    _changed(actor, server, act, {"before": before, "after": after, "reason": reason})


@transaction.atomic
def submit_server(*, actor: Actor, server: Server, expected_version: str | None = None) -> Server:
    """Hand a draft to an independent reviewer. Raises `Invalid` naming what invariant 1 still lacks."""
    server = _locked_server(server, expected_version)
    require(actor, "catalog.edit_server", server)
    SERVER.check(server.lifecycle, Lifecycle.SUBMITTED)
    if missing := completeness(server).missing:
        raise Invalid("The registration is not complete yet.", fields=missing)
    server.submitted_by, server.submitted_at = actor.user, clock.now()
    _move(actor, server, Lifecycle.SUBMITTED, "server.submitted")
    publish(ServerSubmitted(server_id=server.pk))
    return server


@transaction.atomic
def withdraw_server(*, actor: Actor, server: Server, expected_version: str | None = None) -> Server:
    """Take a submitted registration back to draft, to change something."""
    server = _locked_server(server, expected_version)
    require(actor, "catalog.edit_server", server)
    _require_submitted(server)
    _move(actor, server, Lifecycle.DRAFT, "server.withdrawn", "Withdrawn by its people.")
    publish(ServerWithdrawn(server_id=server.pk))
    return server


def _require_submitted(server: Server) -> None:
    if server.lifecycle != Lifecycle.SUBMITTED:
        raise IllegalTransition(f"This server is {server.lifecycle}; it does not wait for a reviewer.")


@transaction.atomic
def return_server(*, actor: Actor, server: Server, reason: str) -> Server:
    """Give a submitted registration back with reasons. An independent reviewer's act, called by the intake review."""
    server = _locked_server(server)
    require(actor, "catalog.decide_intake", server)
    require_independent(actor, server)
    _require_submitted(server)
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say what has to change."]})
    refuse_secrets({"reason": reason})
    _move(actor, server, Lifecycle.DRAFT, "server.returned", reason.strip())
    return server


@transaction.atomic
def activate_server(*, actor: Actor, server: Server) -> Server:
    """Put a submitted server into service and pin its tools. An independent reviewer's act."""
    server = _locked_server(server)
    require(actor, "catalog.decide_intake", server)
    require_independent(actor, server)
    _require_submitted(server)
    if missing := completeness(server).missing:
        raise Conflict("The registration is no longer complete.", fields=missing)
    server.activated_at = clock.now()
    _move(actor, server, Lifecycle.ACTIVE, "server.activated")
    approve_tools(actor=actor, server=server)
    return server


@transaction.atomic
def suspend_server(*, actor: Actor, server: Server, reason: str, expected_version: str | None = None) -> Server:
    """Take a server out of service, reversibly."""
    server = _locked_server(server, expected_version)
    require(actor, "catalog.suspend_server", server)
    _move(actor, server, Lifecycle.SUSPENDED, "server.suspended", _reason(reason))
    return server


@transaction.atomic
def resume_server(*, actor: Actor, server: Server, reason: str, expected_version: str | None = None) -> Server:
    """Put a suspended server back into service: approving, hence by somebody independent."""
    server = _locked_server(server, expected_version)
    require(actor, "catalog.resume_server", server)
    require_independent(actor, server)
    if server.lifecycle != Lifecycle.SUSPENDED:
        raise IllegalTransition(f"This server is {server.lifecycle}, not suspended.")
    if missing := completeness(server).missing:
        raise Conflict("The server no longer meets what an active server needs.", fields=missing)
    _move(actor, server, Lifecycle.ACTIVE, "server.resumed", _reason(reason))
    return server


@transaction.atomic
def retire_server(*, actor: Actor, server: Server, reason: str, expected_version: str | None = None) -> Server:
    """End a server for good. Its history stays."""
    server = _locked_server(server, expected_version)
    require(actor, "catalog.retire_server", server)
    was_submitted = server.lifecycle == Lifecycle.SUBMITTED
    server.retired_at, server.certified_until = clock.now(), None
    _move(actor, server, Lifecycle.RETIRED, "server.retired", _reason(reason))
    if was_submitted:
        publish(ServerWithdrawn(server_id=server.pk))
    publish(ServerRetired(server_id=server.pk))
    return server


def _reason(reason: str) -> str:
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say why; whoever reads this in a year will ask."]})
    refuse_secrets({"reason": reason})
    return reason.strip()


# --- Conclusions of upper rooms, written down as state on the thing ---------------------------------------


@transaction.atomic
def set_tier(*, actor: Actor, server: Server, tier: str, factors: Sequence[Mapping[str, Any]]) -> Server:
    """Store the computed tier and why. A human's override wins in `tier`, the factors stay visible."""
    require(actor, "catalog.set_conclusions", server)
    server = _locked_server(server)
    effective = server.tier_override or tier
    if (server.tier, server.tier_factors) == (effective, list(factors)):
        return server
    before, server.tier, server.tier_factors = server.tier, effective, list(factors)
    server.save(update_fields=["tier", "tier_factors"])
    if before != effective:
        record(
            actor=actor,
            act="server.tier_computed",
            subject=server,
            data={"before": before, "after": effective},
        )
    return server


@transaction.atomic
def override_tier(*, actor: Actor, server: Server, tier: str, reason: str) -> Server:
    """Raise or lower a tier by hand; an empty `tier` returns to the computed one at the next assessment."""
    server = _locked_server(server)
    require(actor, "catalog.override_tier", server)
    require_independent(actor, server)
    if tier and tier not in Tier.values:
        raise Invalid(fields={"tier": ["Choose critical, high, medium or low."]})
    before, server.tier_override = server.tier, tier
    server.tier_override_reason = _reason(reason)
    if tier:
        server.tier = tier
    _changed(actor, server, "server.tier_overridden", {"before": before, "after": tier, "reason": reason})
    return server


@transaction.atomic
def set_certified_until(*, actor: Actor, server: Server, until: Any) -> Server:
    """Mirror the server's certificate (or its end, with None). Called by reviews only."""
    require(actor, "catalog.set_conclusions", server)
    server = _locked_server(server)
    if server.certified_until != until:
        before, server.certified_until = server.certified_until, until
        server.save(update_fields=["certified_until"])
        record(
            actor=actor,
            act="server.certified_until_set",
            subject=server,
            data={"before": before, "after": until},
        )
    return server


@transaction.atomic
def admit_viewers(*, actor: Actor, thing: Governed, users: Iterable[User]) -> None:
    """Let people see a confidential thing because they review it."""
    require(actor, "catalog.set_conclusions", thing)
    model = type(thing)
    locked = model._default_manager.select_for_update(of=("self",)).get(pk=thing.pk)
    fresh = [user.pk for user in users if user.pk not in locked.admitted]
    if locked.confidential and fresh:
        locked.admitted = [*locked.admitted, *fresh]
        locked.save(update_fields=["admitted"])
        record(
            actor=actor,
            act=f"{locked.subject_type}.viewers_admitted",
            subject=locked,
            data={"users": [str(pk) for pk in fresh]},
        )


# --- Systems, agents, issuers ----------------------------------------------------------------------------


def _stripped(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.strip() if isinstance(value, str) else value for name, value in facts.items()}


@transaction.atomic
def register_system(*, actor: Actor, name: str, kind: str, data_class: str, **facts: Any) -> System:
    """`facts`: owner, team, environment, description, confidential."""
    require(actor, "catalog.register_system")
    values = _stripped({"name": name, "kind": kind, "data_class": data_class, **facts})
    refuse_secrets({key: value for key, value in values.items() if isinstance(value, str)})
    system = _validated(System(**values, created_by=actor.user))
    system.save(force_insert=True)
    record(actor=actor, act="system.registered", subject=system, data=_plain(values))
    publish(SystemChanged(system_id=system.pk))
    return system


@transaction.atomic
def update_system(*, actor: Actor, system: System, expected_version: str | None = None, **facts: Any) -> System:
    system = System.objects.select_for_update(of=("self",)).get(pk=system.pk)
    system.check_version(expected_version)
    require(actor, "catalog.edit_system", system)
    _update(actor, system, facts, {
        "name", "kind", "data_class", "owner", "team", "environment", "description", "confidential",
    })  # fmt: skip
    publish(SystemChanged(system_id=system.pk))
    return system


@transaction.atomic
def register_agent(*, actor: Actor, name: str, kind: str, **facts: Any) -> Agent:
    """`facts`: spiffe_id, or issuer and client_id; owner, team, environment, description, server, confidential."""
    require(actor, "catalog.register_agent")
    values = _stripped({"name": name, "kind": kind, **facts})
    refuse_secrets({key: value for key, value in values.items() if isinstance(value, str)})
    _check_agent_identity(values)
    agent = _validated(Agent(**values, created_by=actor.user))
    agent.save(force_insert=True)
    record(actor=actor, act="agent.registered", subject=agent, data=_plain(values))
    publish(AgentChanged(agent_id=agent.pk))
    return agent


@transaction.atomic
def update_agent(*, actor: Actor, agent: Agent, expected_version: str | None = None, **facts: Any) -> Agent:
    agent = Agent.objects.select_for_update(of=("self",)).get(pk=agent.pk)
    agent.check_version(expected_version)
    require(actor, "catalog.edit_agent", agent)
    names = {
        "name", "kind", "spiffe_id", "issuer", "client_id", "owner", "team", "environment", "description", "server",
        "confidential",
    }  # fmt: skip
    _check_agent_identity({name: facts.get(name, getattr(agent, name)) for name in names})
    _update(actor, agent, facts, names)
    publish(AgentChanged(agent_id=agent.pk))
    return agent


def _check_agent_identity(values: Mapping[str, Any]) -> None:
    errors: dict[str, list[str]] = {}
    if not values.get("spiffe_id") and not (values.get("issuer") and values.get("client_id")):
        errors["spiffe_id"] = ["Give a SPIFFE id, or an issuer together with a client id."]
    if (values.get("kind") == Agent.Kind.SERVER) != bool(values.get("server")):
        errors["server"] = ["Link the server exactly when the agent is a server that calls others."]
    if errors:
        raise Invalid(fields=errors)


@transaction.atomic
def retire_system(*, actor: Actor, system: System, reason: str) -> System:
    system = System.objects.select_for_update(of=("self",)).get(pk=system.pk)
    require(actor, "catalog.edit_system", system)
    STANDING.move(system, Standing.RETIRED, field="standing")
    system.save()
    record(actor=actor, act="system.retired", subject=system, data={"reason": _reason(reason)})
    publish(SystemChanged(system_id=system.pk))
    return system


@transaction.atomic
def retire_agent(*, actor: Actor, agent: Agent, reason: str) -> Agent:
    agent = Agent.objects.select_for_update(of=("self",)).get(pk=agent.pk)
    require(actor, "catalog.edit_agent", agent)
    STANDING.move(agent, Standing.RETIRED, field="standing")
    agent.save()
    record(actor=actor, act="agent.retired", subject=agent, data={"reason": _reason(reason)})
    publish(AgentChanged(agent_id=agent.pk))
    return agent


@transaction.atomic
def register_issuer(
    *, actor: Actor, name: str, kind: str, uri: str, jwks_uri: str = "", team: Team | None = None
) -> Issuer:
    require(actor, "catalog.manage_issuers")
    values = _stripped({"name": name, "kind": kind, "uri": uri, "jwks_uri": jwks_uri, "team": team})
    refuse_secrets({key: value for key, value in values.items() if isinstance(value, str)})
    wanted = "spiffe" if kind == Issuer.Kind.SPIFFE else "http"
    if not values["uri"].startswith(wanted):
        raise Invalid(fields={"uri": ["A trust domain starts with spiffe://, an issuer with https://."]})
    issuer = _validated(Issuer(**values))
    issuer.save(force_insert=True)
    record(actor=actor, act="issuer.registered", subject=issuer, data=_plain(values))
    return issuer


@transaction.atomic
def retire_issuer(*, actor: Actor, issuer: Issuer, reason: str) -> Issuer:
    issuer = Issuer.objects.select_for_update(of=("self",)).get(pk=issuer.pk)
    require(actor, "catalog.manage_issuers", issuer)
    STANDING.move(issuer, Standing.RETIRED, field="standing")
    issuer.save()
    record(actor=actor, act="issuer.retired", subject=issuer, data={"reason": _reason(reason)})
    return issuer


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value.pk) if isinstance(value, models.Model) else value for name, value in values.items()}


def _update(actor: Actor, thing: System | Agent, facts: Mapping[str, Any], allowed: set[str]) -> None:
    if unknown := set(facts) - allowed:
        raise Invalid(fields={name: ["This cannot be changed here."] for name in unknown})
    if thing.standing == Standing.RETIRED:
        raise Conflict("This is retired; nothing about it changes any more.")
    values = _stripped(facts)
    refuse_secrets({key: value for key, value in values.items() if isinstance(value, str)})
    before = _plain({name: getattr(thing, name) for name in values})
    for name, value in values.items():
        setattr(thing, name, value)
    _validated(thing)
    after = _plain(values)
    if before != after:
        thing.save()
        record(
            actor=actor,
            act=f"{thing.subject_type}.changed",
            subject=thing,
            data={"before": before, "after": after},
        )


# --- Imports ---------------------------------------------------------------------------------------------


@transaction.atomic
def import_server(
    *,
    actor: Actor,
    name: str,
    title: str = "",
    description: str = "",
    release: str = "",
    website_url: str = "",
    repository_url: str = "",
    endpoints: Sequence[EndpointFacts] = (),
    tools: Sequence[ToolFacts] = (),
    source: str,
    digest: str,
) -> ImportOutcome:
    """Create a draft from a published entry, or bring an untouched draft up to date.

    `digest` identifies the entry: the same one again changes nothing. A server beyond draft is skipped, for
    a file never changes what people approved. Raises `Invalid` or `SecretRefused` like the acts it stands for.
    """
    require(actor, "catalog.register_server")
    facts = {
        "title": title[:100],
        "description": description,
        "release": release,
        "website_url": website_url,
        "repository_url": repository_url,
    }
    refuse_secrets({"name": name, **facts})
    server = Server.objects.select_for_update(of=("self",)).filter(name=name).first()
    if server is not None:
        if server.import_digest == digest:
            return ImportOutcome("skipped", server, ["unchanged"])
        if server.lifecycle != Lifecycle.DRAFT:
            return ImportOutcome("skipped", server, [f"is {server.lifecycle}; change it in the registry"])
        if not server.import_digest:
            return ImportOutcome("skipped", server, ["was registered by hand; its draft is left alone"])
        if server.owner_id is not None:
            return ImportOutcome("skipped", server, ["somebody works on this draft already"])
    outcome: Literal["imported", "updated"] = "imported" if server is None else "updated"
    server = server or Server(name=name, created_by=actor.user)
    for key, value in facts.items():
        setattr(server, key, value)
    server.import_source, server.import_digest = source[:300], digest
    _validated(server).save()
    _write_endpoints(server, endpoints)
    _write_tools(server, tools)
    record(actor=actor, act=f"server.{outcome}", subject=server, data={"source": source, "release": release})
    publish(ServerChanged(server_id=server.pk))
    return ImportOutcome(outcome, server, [])
