"""Acts on workload issuers and service principals."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from registry.accounts.issuer_keys import REFRESH_AFTER, refresh
from registry.accounts.models import ServicePrincipal, Team, User, WorkloadIssuer
from registry.accounts.models.workloads import ALGORITHMS
from registry.accounts.networks import read_networks
from registry.accounts.services.tokens import expand_scopes, refuse_beyond, refuse_provisioning
from registry.accounts.subjects import trust_domain_of, wrong_with_subject, wrong_with_url
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent

MOST_CLAIMS = 10
_WHO_GETS_IN = ("issuer", "subject", "audience", "claims", "scopes", "networks", "owner")


# --- Issuers -----------------------------------------------------------------------------------------------


@transaction.atomic
def register_issuer(
    *,
    actor: Actor,
    name: str,
    issuer: str,
    audience: str = "",
    jwks_uri: str = "",
    trust_domain: str = "",
    algorithms: Iterable[str] = ALGORITHMS,
) -> WorkloadIssuer:
    """Believe this issuer's word about its workloads. `audience` is this registry's address unless it says otherwise.

    Its keys are asked for at the first token, or with `refresh_issuer_keys`.
    """
    require(actor, "accounts.manage_issuers")
    require_recent(actor, _("Register a workload issuer"))
    made = WorkloadIssuer(created_by=actor.user)
    _set_issuer(
        made,
        name=name,
        issuer=issuer,
        audience=audience,
        jwks_uri=jwks_uri,
        trust_domain=trust_domain,
        algorithms=algorithms,
    )
    made.save()
    record(actor=actor, act="workload_issuer.registered", subject=made, data=_issuer_facts(made))
    return made


@transaction.atomic
def edit_issuer(
    *, actor: Actor, issuer: WorkloadIssuer, expected_version: str | None = None, **changes: Any
) -> WorkloadIssuer:
    """Change what is given of `name`, `audience`, `jwks_uri`, `trust_domain`, `algorithms`; who it is stays."""
    require(actor, "accounts.manage_issuers")
    require_recent(actor, _("Change a workload issuer"))
    issuer = _locked_issuer(issuer)
    issuer.check_version(expected_version)
    before = _issuer_facts(issuer)
    wanted = {**before, **changes, "issuer": issuer.issuer}
    _set_issuer(issuer, **wanted)
    stranded = issuer.principals.exclude(state=ServicePrincipal.State.RETIRED)
    if issuer.trust_domain != before["trust_domain"] and any(
        wrong_with_subject(each.subject, issuer.trust_domain) for each in stranded
    ):
        raise Invalid(fields={"trust_domain": ["Service principals of this issuer have ids of the other domain."]})
    after = _issuer_facts(issuer)
    if before != after:
        if before["jwks_uri"] != after["jwks_uri"]:
            issuer.keys, issuer.keys_at, issuer.keys_tried_at, issuer.keys_error = [], None, None, ""
        issuer.save()
        record(actor=actor, act="workload_issuer.edited", subject=issuer, data={"before": before, "after": after})
    return issuer


@transaction.atomic
def retire_issuer(*, actor: Actor, issuer: WorkloadIssuer, reason: str = "") -> WorkloadIssuer:
    """No workload of this issuer gets in any more, from the next call on."""
    require(actor, "accounts.manage_issuers")
    require_recent(actor, _("Retire a workload issuer"))
    refuse_secrets({"reason": reason})
    issuer = _locked_issuer(issuer)
    issuer.state = WorkloadIssuer.State.RETIRED
    issuer.save(update_fields=["state"])
    record(actor=actor, act="workload_issuer.retired", subject=issuer, data={"reason": reason.strip()})
    return issuer


def refresh_issuer_keys(*, actor: Actor, issuer: WorkloadIssuer) -> bool:
    """Ask for the keys now; False when they could not be had, `issuer.keys_error` says why."""
    require(actor, "accounts.manage_issuers")
    if issuer.state == WorkloadIssuer.State.RETIRED:
        raise Conflict("This issuer is retired.")
    fresh = refresh(issuer, clock.now(), at_once=True)
    with transaction.atomic():
        record(
            actor=actor,
            act="workload_issuer.keys_fetched" if fresh else "workload_issuer.keys_not_fetched",
            subject=issuer,
            data={"keys": [key["kid"] for key in issuer.keys], "error": issuer.keys_error},
        )
    return fresh


def _locked_issuer(issuer: WorkloadIssuer) -> WorkloadIssuer:
    issuer = WorkloadIssuer.objects.select_for_update().get(pk=issuer.pk)
    if issuer.state == WorkloadIssuer.State.RETIRED:
        raise Conflict("This issuer is retired.")
    return issuer


def _issuer_facts(issuer: WorkloadIssuer) -> dict[str, Any]:
    names = ("name", "issuer", "audience", "jwks_uri", "trust_domain", "algorithms")
    return {name: getattr(issuer, name) for name in names}


def _set_issuer(made: WorkloadIssuer, **facts: Any) -> None:
    values: dict[str, Any] = {name: value.strip() if isinstance(value, str) else value for name, value in facts.items()}
    algorithms = list(dict.fromkeys(values.pop("algorithms")))
    values["audience"] = values["audience"] or settings.BASE_URL
    errors: dict[str, list[str]] = {}
    if not values["name"]:
        errors["name"] = ["Required."]
    if wrong := wrong_with_url(values["issuer"]):
        errors["issuer"] = [wrong]
    if values["jwks_uri"] and (wrong := wrong_with_url(values["jwks_uri"])):
        errors["jwks_uri"] = [wrong]
    domain = values["trust_domain"]
    if domain and trust_domain_of(f"spiffe://{domain}/x") != domain:
        errors["trust_domain"] = ["A trust domain is a name like example.org, in small letters."]
    if not algorithms or not set(algorithms) <= set(ALGORITHMS):
        errors["algorithms"] = [f"One or more of {', '.join(ALGORITHMS)}."]
    if errors:
        raise Invalid(fields=errors)
    refuse_secrets(values)
    others = WorkloadIssuer.objects.filter(issuer=values["issuer"], state=WorkloadIssuer.State.ACTIVE)
    if others.exclude(pk=made.pk).exists():
        raise Conflict("This issuer is registered already.", fields={"issuer": ["Already registered."]})
    for name, value in values.items():
        setattr(made, name, value)
    made.algorithms = algorithms


# --- Service principals ------------------------------------------------------------------------------------


@transaction.atomic
def create_principal(
    *,
    actor: Actor,
    name: str,
    purpose: str,
    issuer: WorkloadIssuer,
    subject: str,
    scopes: Iterable[str],
    owner: User | None = None,
    team: Team | None = None,
    audience: str = "",
    claims: Mapping[str, Any] | None = None,
    networks: Iterable[str] = (),
) -> ServicePrincipal:
    """Let a workload act here, for `owner`: whoever creates it, or somebody an administrator names, who must accept.

    What a token makes waits for its owner as well: it would outlive the token, and may come from anywhere.
    """
    require(actor, "accounts.create_principal")
    require_recent(actor, _("Register a service principal"))
    owner = owner or actor.user
    if owner is None:
        raise Invalid(fields={"owner": ["Somebody must answer for it."]})
    if not actor.is_person(owner.pk):
        require(actor, "accounts.assign_principal")
    made = ServicePrincipal(created_by=actor.user)
    _set_principal(
        actor,
        made,
        name=name,
        purpose=purpose,
        issuer=issuer,
        subject=subject,
        scopes=scopes,
        owner=owner,
        team=team,
        audience=audience,
        claims=claims or {},
        networks=networks,
    )
    if not _owner_says(actor, owner):
        _await_owner(made)
    made.save()
    record(actor=actor, act="service_principal.created", subject=made, data=_principal_facts(made))
    return made


@transaction.atomic
def edit_principal(
    *, actor: Actor, principal: ServicePrincipal, expected_version: str | None = None, **changes: Any
) -> ServicePrincipal:
    """Change what is given. Another owner needs an administrator; what others change of who gets in, its owner accepts.

    Else an administrator's own workload could act with somebody else's authority.
    """
    principal = _locked_principal(actor, "accounts.edit_principal", principal)
    principal.check_version(expected_version)
    before, owner = _principal_facts(principal), principal.owner
    names = ("name", "purpose", "issuer", "subject", "scopes", "owner", "team", "audience", "claims", "networks")
    wanted = {name: changes[name] if name in changes else getattr(principal, name) for name in names}
    if wanted["owner"] != owner:
        require(actor, "accounts.assign_principal")
    _set_principal(actor, principal, **wanted)
    after = _principal_facts(principal)
    if before != after:
        if any(before[name] != after[name] for name in _WHO_GETS_IN):
            require_recent(actor, _("Change who gets in as a service principal"))
            if not _owner_says(actor, principal.owner):
                _await_owner(principal)
        principal.save()
        record(actor=actor, act="service_principal.edited", subject=principal, data={"before": before, "after": after})
    return principal


@transaction.atomic
def suspend_principal(*, actor: Actor, principal: ServicePrincipal, reason: str = "") -> ServicePrincipal:
    """It gets in no more until somebody resumes it."""
    principal = _locked_principal(actor, "accounts.suspend_principal", principal)
    require_recent(actor, _("Suspend a service principal"))
    if principal.state == ServicePrincipal.State.SUSPENDED:
        raise Conflict("It is suspended already.")
    return _suspended(actor, principal, reason)


def _owner_says(actor: Actor, owner: User) -> bool:
    """The owner themselves, not what acts for them: whoever finds a token must not make of it a way in that lasts."""
    return actor.kind == "person" and actor.is_person(owner.pk)


def _await_owner(principal: ServicePrincipal) -> None:
    """The owner's word must not undo security's, nor security's stand for the owner's: one after the other."""
    if principal.state == ServicePrincipal.State.SUSPENDED and principal.suspended_by_id is not None:
        raise Conflict("It is suspended. Resume it before others than its owner change who gets in.")
    principal.state, principal.state_reason = ServicePrincipal.State.PROPOSED, ""


def _suspended(actor: Actor, principal: ServicePrincipal, reason: str) -> ServicePrincipal:
    refuse_secrets({"reason": reason})
    principal.state, principal.state_reason = ServicePrincipal.State.SUSPENDED, reason.strip()[:500]
    principal.suspended_by = actor.user
    principal.save(update_fields=["state", "state_reason", "suspended_by"])
    record(actor=actor, act="service_principal.suspended", subject=principal, data={"reason": principal.state_reason})
    return principal


@transaction.atomic
def resume_principal(*, actor: Actor, principal: ServicePrincipal) -> ServicePrincipal:
    """Let a suspended one act again, or accept a proposed one, which only its owner does."""
    principal = _locked_principal(actor, "accounts.resume_principal", principal)
    require_recent(actor, _("Let a service principal act"))
    if principal.state == ServicePrincipal.State.ACTIVE:
        raise Conflict("It may act already.")
    accepted = principal.state == ServicePrincipal.State.PROPOSED
    if not principal.owner.is_active:
        raise Conflict("Its owner left. An administrator names another owner first.")
    principal.state, principal.state_reason, principal.suspended_by = ServicePrincipal.State.ACTIVE, "", None
    principal.save(update_fields=["state", "state_reason", "suspended_by"])
    record(
        actor=actor,
        act="service_principal.accepted" if accepted else "service_principal.resumed",
        subject=principal,
        data={"scopes": principal.scopes},
    )
    return principal


@transaction.atomic
def retire_principal(*, actor: Actor, principal: ServicePrincipal, reason: str = "") -> ServicePrincipal:
    """For good. The same workload can be given a new principal."""
    principal = _locked_principal(actor, "accounts.retire_principal", principal)
    require_recent(actor, _("Retire a service principal"))
    refuse_secrets({"reason": reason})
    principal.state, principal.state_reason = ServicePrincipal.State.RETIRED, reason.strip()[:500]
    principal.save(update_fields=["state", "state_reason"])
    record(actor=actor, act="service_principal.retired", subject=principal, data={"reason": principal.state_reason})
    return principal


@transaction.atomic
def suspend_principals_of_leavers() -> int:
    """Suspend what people who left answered for. Those workloads got in no more since; this says it, and why."""
    actor = Actor.system("leavers' credentials")
    left = ServicePrincipal.objects.filter(owner__is_active=False, state=ServicePrincipal.State.ACTIVE)
    found = list(left.select_for_update(of=("self",), skip_locked=True).order_by("pk"))
    for principal in found:
        _suspended(actor, principal, "Its owner left.")
    return len(found)


def note_principal_use(*, principal: ServicePrincipal, now: datetime, address: str | None) -> None:
    """To the minute, as for tokens."""
    if principal.last_used_at is None or now - principal.last_used_at > timedelta(minutes=1):
        ServicePrincipal.objects.filter(pk=principal.pk).update(last_used_at=now, last_address=address)


def _locked_principal(actor: Actor, permission: str, principal: ServicePrincipal) -> ServicePrincipal:
    """The row as it is now. Who may do what to it depends on its state, so that is asked under the lock."""
    rows = ServicePrincipal.objects.select_for_update(of=("self",)).select_related("owner", "issuer", "team")
    principal = rows.get(pk=principal.pk)
    require(actor, permission, principal)
    if principal.state == ServicePrincipal.State.RETIRED:
        raise Conflict("It is retired for good.")
    return principal


def _principal_facts(principal: ServicePrincipal) -> dict[str, Any]:
    names = ("name", "purpose", "subject", "audience", "claims", "scopes", "networks")
    return {
        **{name: getattr(principal, name) for name in names},
        "issuer": principal.issuer.issuer,
        "owner": str(principal.owner_id),
        "team": str(principal.team_id) if principal.team_id else None,
    }


def _set_principal(actor: Actor, made: ServicePrincipal, **facts: Any) -> None:
    values: dict[str, Any] = {name: value.strip() if isinstance(value, str) else value for name, value in facts.items()}
    issuer, owner, team = values["issuer"], values["owner"], values["team"]
    errors: dict[str, list[str]] = {
        name: [said]
        for name, said in (("name", "Required."), ("purpose", "Say what it does here."))
        if not values[name]
    }
    if issuer.state == WorkloadIssuer.State.RETIRED:
        errors["issuer"] = ["This issuer is retired."]
    elif wrong := wrong_with_subject(values["subject"], issuer.trust_domain):
        errors["subject"] = [wrong]
    if not owner.is_active:
        errors["owner"] = [f"{owner.email} is not active."]
    if team is not None and team.removed_at is not None:
        errors["team"] = ["There is no such team any more."]
    if wrong := _wrong_claims(values["claims"]):
        errors["claims"] = [wrong]
    if errors:
        raise Invalid(fields=errors)
    refuse_secrets({name: values[name] for name in ("name", "purpose", "subject", "audience")})
    refuse_secrets({"claims": json.dumps(values["claims"])})
    wanted = expand_scopes(values["scopes"])
    if wanted != made.scopes:
        refuse_beyond(actor, wanted)
    refuse_provisioning(owner, wanted)
    alive = ServicePrincipal.objects.exclude(pk=made.pk).exclude(state=ServicePrincipal.State.RETIRED)
    for name, taken in (
        ("name", Q(name__iexact=values["name"])),
        ("subject", Q(issuer=issuer, subject=values["subject"])),
    ):
        if alive.filter(taken).exists():
            raise Conflict("Another service principal has this already.", fields={name: ["Already in use."]})
    for name, value in values.items():
        setattr(made, name, value)
    made.scopes, made.networks = wanted, read_networks(values["networks"])


def _wrong_claims(claims: Any) -> str:
    if not isinstance(claims, Mapping) or len(claims) > MOST_CLAIMS:
        return f"At most {MOST_CLAIMS} members with their values."
    for name, value in claims.items():
        if not isinstance(name, str) or not name or len(name) > 200 or not isinstance(value, str | bool | int):
            return "Each is a name with a text, a number, or true or false."
        if name in ("iss", "aud", "sub", "exp", "nbf", "iat"):
            return f"{name} is looked at anyway."
    return ""


def refresh_due_keys() -> int:
    """Ask every issuer in use for its keys before a call has to wait for them. Returns how many answered."""
    now = clock.now()
    in_use = WorkloadIssuer.objects.filter(
        state=WorkloadIssuer.State.ACTIVE, principals__state=ServicePrincipal.State.ACTIVE
    )
    due = in_use.filter(Q(keys_at=None) | Q(keys_at__lte=now - REFRESH_AFTER / 2)).distinct()
    return sum(refresh(issuer, now) for issuer in due)
