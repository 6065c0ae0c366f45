"""Acts on systems, agents and issuers."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import F, Q

from registry.accounts.models import Team
from registry.audit.services import record
from registry.catalog.events import (
    AgentChanged,
    SystemChanged,
)
from registry.catalog.models import (
    Agent,
    Issuer,
    Server,
    System,
)
from registry.catalog.services.shared import given_reason, only_reads, plain, stripped, validated
from registry.catalog.services.succession import settle_owner
from registry.catalog.services.visibility import settle_visibility
from registry.catalog.states import STANDING, Standing
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets


@transaction.atomic
def register_system(*, actor: Actor, name: str, kind: str, data_class: str, **facts: Any) -> System:
    """`facts`: owner, team, environment, description, confidential."""
    require(actor, "catalog.register_system")
    values = stripped({"name": name, "kind": kind, "data_class": data_class, **facts})
    refuse_secrets({key: value for key, value in values.items() if isinstance(value, str)})
    _check_owner(values)
    system = System(**values, created_by=actor.user)
    settle_visibility(system, marked=values.get("confidential"))
    validated(system).save(force_insert=True)
    record(actor=actor, act="system.registered", subject=system, data=plain(values))
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
def register_agent(*, actor: Actor, name: str, kind: str = Agent.Kind.AI_AGENT, **facts: Any) -> Agent:
    """`facts`: spiffe_id, or issuer and client_id; owner, team, environment, description, server, confidential.

    The trust domain of a SPIFFE id is its issuer, where it is registered.
    """
    require(actor, "catalog.register_agent")
    values = stripped({"name": name, "kind": kind, **facts})
    refuse_secrets({key: value for key, value in values.items() if isinstance(value, str)})
    values |= _vouched_for(values)
    _check_agent_identity(actor, values)
    _check_owner(values)
    agent = Agent(**values, created_by=actor.user)
    settle_visibility(agent, marked=values.get("confidential"))
    validated(agent).save(force_insert=True)
    record(actor=actor, act="agent.registered", subject=agent, data=plain(values))
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
    values = {name: facts.get(name, getattr(agent, name)) for name in names}
    issuer = _vouched_for(values)
    _check_agent_identity(actor, values | issuer)
    _update(actor, agent, facts | issuer, names)
    publish(AgentChanged(agent_id=agent.pk))
    return agent


def _vouched_for(values: Mapping[str, Any]) -> dict[str, Issuer | None]:
    """`{"issuer": …}` where it follows from the SPIFFE id: the trust domain, the team's own before everybody's.

    An OpenID Connect issuer is chosen and stays.
    """
    chosen = values.get("issuer")
    if chosen is not None and chosen.kind != Issuer.Kind.SPIFFE:
        return {}
    domain = "/".join((values.get("spiffe_id") or "").split("/")[:3])
    known = Issuer.objects.filter(kind=Issuer.Kind.SPIFFE, uri=domain, standing=Standing.ACTIVE)
    mine = known.filter(Q(team=None) | Q(team=values.get("team"))).order_by(F("team").asc(nulls_last=True))
    return {"issuer": mine.first() if domain else None}


def _check_owner(values: Mapping[str, Any]) -> None:
    owner = values.get("owner")
    if owner is not None and owner.only_reads:
        raise Invalid(fields={"owner": [only_reads(owner)]})


def _check_agent_identity(actor: Actor, values: Mapping[str, Any]) -> None:
    errors: dict[str, list[str]] = {}
    linked = values.get("server")
    if linked is not None and not Server.objects.visible_to(actor).filter(pk=linked.pk).exists():
        errors["server"] = ["There is no such server."]
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
    _retire(actor, system, reason)
    publish(SystemChanged(system_id=system.pk))
    return system


@transaction.atomic
def retire_agent(*, actor: Actor, agent: Agent, reason: str) -> Agent:
    agent = Agent.objects.select_for_update(of=("self",)).get(pk=agent.pk)
    require(actor, "catalog.edit_agent", agent)
    _retire(actor, agent, reason)
    publish(AgentChanged(agent_id=agent.pk))
    return agent


@transaction.atomic
def register_issuer(
    *, actor: Actor, name: str, kind: str, uri: str, jwks_uri: str = "", team: Team | None = None
) -> Issuer:
    require(actor, "catalog.manage_issuers")
    values = stripped({"name": name, "kind": kind, "uri": uri, "jwks_uri": jwks_uri, "team": team})
    refuse_secrets({key: value for key, value in values.items() if isinstance(value, str)})
    wanted = "spiffe" if kind == Issuer.Kind.SPIFFE else "http"
    if not values["uri"].startswith(wanted):
        raise Invalid(fields={"uri": ["A trust domain starts with spiffe://, an issuer with https://."]})
    issuer = validated(Issuer(**values))
    issuer.save(force_insert=True)
    record(actor=actor, act="issuer.registered", subject=issuer, data=plain(values))
    if kind == Issuer.Kind.SPIFFE:
        _take_in(actor, issuer)
    return issuer


def _take_in(actor: Actor, domain: Issuer) -> None:
    """Agents whose SPIFFE ids this trust domain vouches for, and nobody did until now."""
    agents = Agent.objects.select_for_update(of=("self",)).filter(
        issuer=None, spiffe_id__startswith=f"{domain.uri}/", standing=Standing.ACTIVE
    )
    if domain.team is not None:
        agents = agents.filter(team=domain.team)
    for agent in agents.order_by("pk"):
        _update(actor, agent, {"issuer": domain}, {"issuer"})
        publish(AgentChanged(agent_id=agent.pk))


@transaction.atomic
def retire_issuer(*, actor: Actor, issuer: Issuer, reason: str) -> Issuer:
    issuer = Issuer.objects.select_for_update(of=("self",)).get(pk=issuer.pk)
    require(actor, "catalog.manage_issuers", issuer)
    _retire(actor, issuer, reason)
    return issuer


def _retire(actor: Actor, thing: System | Agent | Issuer, reason: str) -> None:
    STANDING.move(thing, Standing.RETIRED, field="standing")
    thing.save()
    record(actor=actor, act=f"{thing.subject_type}.retired", subject=thing, data={"reason": given_reason(reason)})


def _update(actor: Actor, thing: System | Agent, facts: Mapping[str, Any], allowed: set[str]) -> None:
    if unknown := set(facts) - allowed:
        raise Invalid(fields={name: ["This cannot be changed here."] for name in unknown})
    if thing.standing == Standing.RETIRED:
        raise Conflict("This is retired; nothing about it changes any more.")
    values = stripped(facts)
    marked = values.pop("confidential", None)
    refuse_secrets({key: value for key, value in values.items() if isinstance(value, str)})
    before = plain({name: getattr(thing, name) for name in values})
    if values.get("owner") != thing.owner:
        _check_owner(values)
    for name, value in values.items():
        setattr(thing, name, value)
    seen = settle_visibility(thing, marked=marked)
    validated(thing)
    before, after = before | seen.before, plain(values) | seen.after
    if before != after:
        thing.save()
        record(
            actor=actor,
            act=f"{thing.subject_type}.changed",
            subject=thing,
            data={"before": before, "after": after},
        )
        if "owner" in values:
            settle_owner(actor, thing)
