"""What a server is made of: endpoints, tools, secret sources, revocation path."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction

from registry.audit.services import record
from registry.catalog.events import (
    ServerChanged,
)
from registry.catalog.models import (
    Endpoint,
    RevocationStep,
    SecretSource,
    Server,
    Tool,
    ToolClass,
    Transport,
)
from registry.catalog.queries import completeness
from registry.catalog.services.facts import (
    REFERENCE_FORMS,
    EndpointFacts,
    ObservedTool,
    SecretSourceFacts,
    StepFacts,
    ToolFacts,
    canonical_uri,
    tool_digest,
)
from registry.catalog.services.shared import editable, locked_server, note_change, validated
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Invalid
from registry.core.events import publish
from registry.core.independence import require_decider
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets

_NO_ADDRESS = re.compile(r"[\s\x00-\x1f\x7f\\]|%00", re.IGNORECASE)
"""What no address holds, however it is escaped."""


def _reconcile(current: Mapping[Any, Any], wanted: Mapping[Any, Any], facts: Iterable[str]) -> bool:
    """Retire the parts no longer wanted, add the new, bring `facts` of the others up to date.

    Both map what makes a part the same part to its row. Returns whether anything changed.
    """
    names, changed = list(facts), False
    for key, part in current.items():
        if key not in wanted:
            part.retired_at = clock.now()
            part.save()
            changed = True
    for key, part in wanted.items():
        kept = current.get(key)
        if kept is None:
            part.save(force_insert=True)
            changed = True
        elif differing := [name for name in names if getattr(kept, name) != getattr(part, name)]:
            for name in differing:
                setattr(kept, name, getattr(part, name))
            kept.save()
            changed = True
    return changed


def _still_answers(server: Server, question: str) -> None:
    """A server in use keeps what made it activatable (invariant 1); a draft may have gaps."""
    in_use = server.lifecycle in (Lifecycle.ACTIVE, Lifecycle.SUSPENDED)
    if in_use and (missing := completeness(server)[question].missing):
        raise Invalid("A server in use cannot do without this.", fields={question: missing})


@transaction.atomic
def set_endpoints(
    *, actor: Actor, server: Server, endpoints: Sequence[EndpointFacts], expected_version: str | None = None
) -> Server:
    """Declare the ways to reach a server. Endpoints no longer named retire; the same ones stay as they are."""
    server = editable(actor, server, expected_version)
    if write_endpoints(server, endpoints):
        uris = [canonical_uri(endpoint) for endpoint in endpoints]
        _still_answers(server, "reach")
        note_change(actor, server, "server.endpoints_set", {"endpoints": uris})
    return server


def wrong_address(url: str) -> str:
    """Why this is no address of a server; empty for one that is."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named, parts = False, None
    if parts is not None and parts.scheme.lower() not in ("http", "https"):
        return "Give an http or https address."
    if not named or parts is None or _NO_ADDRESS.search(url) or "%" in parts.netloc:
        return "This is no address that anybody could call."
    return ""


def write_endpoints(server: Server, endpoints: Sequence[EndpointFacts]) -> bool:
    wanted: dict[str, Endpoint] = {}
    for index, facts in enumerate(endpoints):
        prefix = f"endpoints.{index}."
        refuse_secrets({f"{prefix}{key}": value for key, value in facts.items() if isinstance(value, str)})
        url = facts.get("url", "").strip()
        if url and (wrong := wrong_address(url)):
            raise Invalid(fields={f"{prefix}url": [wrong]})
        if not url and not facts.get("package_identifier"):
            raise Invalid(fields={f"{prefix}url": ["Give a URL or a package."]})
        if not url and facts.get("transport", "") not in ("", Transport.STDIO) and not facts.get("package_identifier"):
            raise Invalid(fields={f"{prefix}transport": ["This transport needs a URL."]})
        uri = canonical_uri(facts)
        if uri in wanted:
            raise Invalid(fields={f"{prefix}url": [f"{uri} is listed twice."]})
        wanted[uri] = validated(
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
    return _reconcile(current, wanted, ("transport", "package_sha256", "inputs"))


@transaction.atomic
def set_tools(
    *, actor: Actor, server: Server, tools: Sequence[ToolFacts], expected_version: str | None = None
) -> Server:
    """Declare the tools of a server with the class their owner confirms. Tools no longer named retire.

    A definition that differs from the approved one stays unapproved until a review approves it (invariant 5).
    """
    server = editable(actor, server, expected_version)
    if write_tools(server, tools):
        names = [tool["name"] for tool in tools]
        note_change(actor, server, "server.tools_set", {"tools": names})
    return server


def write_tools(server: Server, tools: Sequence[ToolFacts]) -> bool:
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
        # An observed digest is of the raw definition, of which secrets and over-long texts are not kept.
        if tool._state.adding or before[:3] != (tool.title, tool.description, tool.definition):
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
            validated(tool, prefix=f"tools.{index}.", exclude=["server"]).save()
            changed = True
    return changed


@transaction.atomic
def approve_tools(*, actor: Actor, server: Server) -> int:
    """Pin the digests of every listed tool, and of what else the server was seen to say. Called by a review's
    sign-off and by the approval of a drift; returns how many tools changed."""
    require_decider(actor, "catalog.decide_intake", server)
    server = locked_server(server)
    pending = [tool for tool in server.tools.filter(retired_at=None) if not tool.approved]
    for tool in pending:
        tool.approved_digest, tool.approved_at = tool.digest, clock.now()
        tool.save(update_fields=["approved_digest", "approved_at"])
    said = server.said_digest != server.approved_said_digest
    if said:
        server.approved_said_digest = server.said_digest
        server.save(update_fields=["approved_said_digest"])
    if pending or said:
        record(
            actor=actor,
            act="server.tools_approved",
            subject=server,
            data={
                "tools": {tool.name: tool.digest for tool in pending},
                **({"said": server.said_digest} if said else {}),
            },
        )
        publish(ServerChanged(server_id=server.pk))
    return len(pending)


@transaction.atomic
def observe_tools(*, actor: Actor, server: Server, tools: Sequence[ObservedTool], said_digest: str) -> bool:
    """Write down what a server was seen to list: its tools as they are now, and a digest of all else it says.

    Observation approves nothing: approved digests and confirmed classes stay as people left them, so whatever differs
    is unapproved from here on (invariant 5). A tool that is no longer listed retires. Nothing that is handed in is
    refused: it was seen. Returns whether anything changed.
    """
    require(actor, "catalog.observe_tools", server)
    server = locked_server(server)
    current = {tool.name: tool for tool in server.tools.filter(retired_at=None)}
    seen = {each["name"]: each for each in tools}
    gone = sorted(current.keys() - seen.keys())
    for name in gone:
        current[name].retired_at = clock.now()
        current[name].save(update_fields=["retired_at"])
    changed = {}
    for name, each in seen.items():
        tool = current.get(name) or Tool(server=server, name=name)
        if tool.digest == each["digest"] and (tool.definition or not each["definition"]):
            continue
        tool.title, tool.description = each["title"], each["description"]
        tool.definition, tool.digest = dict(each["definition"]), each["digest"]
        tool.claimed_class = each["claimed_class"]
        tool.save()
        changed[name] = tool.digest
    said = server.said_digest != said_digest
    if not (changed or gone or said):
        return False
    server.said_digest = said_digest
    note_change(
        actor,
        server,
        "server.tools_observed",
        {"changed": changed, "gone": gone, **({"said": said_digest} if said else {})},
    )
    return True


@transaction.atomic
def set_secret_sources(
    *, actor: Actor, server: Server, sources: Sequence[SecretSourceFacts], expected_version: str | None = None
) -> Server:
    """Document where credentials come from. A source is the same while kind, reference and name are."""
    server = editable(actor, server, expected_version)
    wanted: dict[tuple[str, str, str], SecretSource] = {}
    for index, facts in enumerate(sources):
        prefix = f"sources.{index}."
        refuse_secrets({f"{prefix}{key}": value for key, value in facts.items() if isinstance(value, str)})
        none = facts.get("kind") == SecretSource.Kind.NONE
        if none and not facts.get("reason", "").strip():
            raise Invalid(fields={f"{prefix}reason": ["Say why this server needs no credential."]})
        if not none and not facts.get("reference", "").strip():
            raise Invalid(fields={f"{prefix}reference": ["Name where the credential is kept, not the credential."]})
        if (form := REFERENCE_FORMS.get(facts.get("kind", ""))) and not re.fullmatch(
            form[0], facts["reference"].strip()
        ):
            why = f"Name the place, for example {form[1]}. A bare word could be the credential itself."
            raise Invalid(fields={f"{prefix}reference": [why]})
        if not none and not facts.get("credential_type"):
            raise Invalid(fields={f"{prefix}credential_type": ["Choose how long the credential lives."]})
        source = validated(SecretSource(server=server, **facts), prefix=prefix, exclude=["server"])
        key = (source.kind, source.reference, source.name)
        if key in wanted:
            raise Invalid(fields={f"{prefix}reference": ["This source is listed twice."]})
        wanted[key] = source
    if len(wanted) > 1 and any(kind == SecretSource.Kind.NONE for kind, _, _ in wanted):
        raise Invalid(fields={"sources": ["'No credential' stands alone; remove it or the others."]})
    current = {
        (source.kind, source.reference, source.name): source for source in server.secret_sources.filter(retired_at=None)
    }
    facts_of = [name for name in SecretSourceFacts.__annotations__ if name not in ("kind", "reference", "name")]
    if _reconcile(current, wanted, facts_of):
        described = [[source.kind, source.reference, source.credential_type] for source in wanted.values()]
        _still_answers(server, "credentials")
        note_change(actor, server, "server.secret_sources_set", {"sources": described})
    return server


@transaction.atomic
def set_revocation_path(
    *, actor: Actor, server: Server, steps: Sequence[StepFacts], expected_version: str | None = None
) -> Server:
    """Write down, in order, how this server is cut off. The whole path is replaced; the old steps stay as history."""
    server = editable(actor, server, expected_version)
    rows = []
    for position, facts in enumerate(steps, 1):
        prefix = f"steps.{position - 1}."
        refuse_secrets({f"{prefix}{key}": value for key, value in facts.items() if isinstance(value, str)})
        step = RevocationStep(server=server, position=position, **facts)
        rows.append(validated(step, prefix=prefix, exclude=["server", "position"]))
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
    _still_answers(server, "revocation")
    note_change(actor, server, "server.revocation_path_set", {"steps": [step.instruction for step in rows]})
    return server
