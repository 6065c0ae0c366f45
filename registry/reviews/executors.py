"""Who carries a remediation out: the registry itself, and whatever else has to act outside of it.

The registry acts on every remediation, in the transaction that dispatches it. When that is not the end of the access
(a credential lives on at a vendor), the remediation also names a channel; its executor is asked by a worker, again
and again until it has taken the errand. A later room brings a channel (webhook, ticket) by calling `register`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.utils.translation import gettext as _

from registry.catalog import services as catalog
from registry.catalog.models import Agent, SecretSource, Server
from registry.catalog.states import Lifecycle
from registry.core.actors import Actor
from registry.core.permissions import allows
from registry.reviews.facts import ACCESS_LADDER
from registry.reviews.models import Certificate, Remediation, SubjectKind
from registry.trust import services as trust
from registry.trust.models import Connection, Grant
from registry.trust.states import HELD

REGISTRY, MANUAL = "registry", "manual"
Subject = Server | Agent | Grant | Connection


@dataclass(frozen=True)
class Report:
    """What an executor says of an errand. It proves nothing: somebody independent has to look.

    `done=False` means taken, not finished: `services.report_done` follows when it is. `detail` says in words what
    still has to happen.
    """

    done: bool
    reference: str = ""
    detail: str = ""


class NotCarriedOut(Exception):
    """The channel could not take the errand this time; it is asked again later. The message is shown to people."""


class Executor(Protocol):
    """One way to bring a remediation about.

    `carry_out` runs outside of any transaction and may be asked twice for the same errand, when a worker died between
    the act and its note: it has to do what `remediation.errand` names only once. Raises `NotCarriedOut`.
    """

    channel: str

    def carry_out(self, remediation: Remediation) -> Report: ...


_executors: dict[str, Executor] = {}


def register(executor: Executor) -> Executor:
    """Bring a channel, or replace the one of the same name."""
    _executors[executor.channel] = executor
    return executor


def executor_for(channel: str) -> Executor:
    """Raises `NotCarriedOut` for a channel nobody brought: its room may not be installed any more."""
    if channel not in _executors:
        raise NotCarriedOut(_("No channel is called %(name)s.") % {"name": channel})
    return _executors[channel]


def channels() -> list[str]:
    return sorted(_executors)


# --- The registry itself -----------------------------------------------------------------------------------


class RegistryExecutor:
    """Ends or narrows what the registry holds, through the services of trust and catalog.

    Unlike other executors it runs inside the transaction of the dispatch, so that an act and the state that tells
    of it are one. Asked again it does only what is left to do: somebody may have revoked it by hand meanwhile, and
    what a newer signature certifies is left alone.
    """

    channel = REGISTRY

    def carry_out(self, remediation: Remediation) -> Report:
        item, reason = remediation.item, _reason(remediation)
        subject: Subject = item.subject
        remains: Grant | Connection | None = None
        there = held_now(remediation)
        if remediation.kind == Remediation.Kind.REDUCE:
            remains = self._reduce(remediation, there[0], reason) if there else None
        elif item.kind == SubjectKind.SERVER:
            for server in there:
                by = _authority(remediation, "catalog.suspend_server", server)
                catalog.suspend_server(actor=by, server=server, reason=reason)
        else:
            _revoke(remediation, there, reason)
        remediation.remains = remains.pk if remains is not None else None
        return Report(True, f"{item.kind} {remains.pk if remains is not None else subject.pk}")

    def _reduce(self, remediation: Remediation, held: Grant | Connection, reason: str) -> Grant | Connection | None:
        """Narrow what is held between the two ends to what was kept. What is narrow enough stays as it is."""
        kept = atoms(held) & frozenset(remediation.kept)
        if not exceeds(held, remediation.kept):
            return held
        levels = [level for level in ACCESS_LADDER if f"access:{level}" in kept]
        scopes = sorted(atom for atom in kept if not atom.startswith("access:"))
        if not kept or (isinstance(held, Connection) and (not levels or (held.scopes and not scopes))):
            # It was replaced by something else altogether: nothing of that was ever kept.
            _revoke(remediation, [held], reason)
            return None
        actor = _authority(remediation, "trust.reduce_relationship", held)
        if isinstance(held, Grant):
            return trust.reduce_grant(actor=actor, grant=held, kept_tools=sorted(kept), reason=reason)
        return trust.reduce_connection(
            actor=actor, connection=held, access=levels[-1], kept_scopes=scopes or None, reason=reason
        )


def _revoke(remediation: Remediation, held: Iterable[Grant | Connection], reason: str) -> None:
    for each in held:
        by = _authority(remediation, "trust.revoke_relationship", each)
        trust.revoke_relationship(actor=by, relationship=each, reason=reason)  # type: ignore[type-var]


def _reason(remediation: Remediation) -> str:
    return f"Review {remediation.item.campaign}: {remediation.reason}"[:2000]


def _authority(remediation: Remediation, permission: str, thing: Any) -> Actor:
    """Whose act it is. The signature is the authority: where the signer may not do it by hand, the registry does it
    for them. What the clock decided is nobody's act.
    """
    if remediation.decision is None:
        return Actor.system("nobody answered in time")
    signer = Actor.person(remediation.decision.work_item.reviewer)
    return signer if allows(signer, permission, thing) else Actor.system(f"sign-off of {signer.label}")


def held_now(remediation: Remediation) -> list[Any]:
    """What the registry holds at this moment of what was decided on.

    An active server, the grants of an agent, or the version held between the same two ends, whichever it is now. Not
    what a newer signature than the remediation's certifies.

    Relationships come in the order of their servers, as everywhere where several are locked.
    """
    item = remediation.item
    anew = Certificate.objects.signed_after(remediation.created_at)
    match item.kind:
        case SubjectKind.SERVER:
            server = Server.objects.filter(pk=item.subject_pk, lifecycle=Lifecycle.ACTIVE)
            return list(server.exclude(pk__in=anew.filter(server=item.server_id).values("server")))
        case SubjectKind.AGENT:
            if anew.filter(agent=item.agent_id).exists():
                return []
            held = Grant.objects.filter(agent=item.agent_id, status__in=HELD)
            held = held.exclude(pk__in=anew.filter(grant__agent=item.agent_id).values("grant"))
            return list(held.select_related("server").order_by("server_id", "pk"))
    subject = item.subject
    ends = ("agent_id", "server_id") if isinstance(subject, Grant) else ("server_id", "system_id")
    same = {end: getattr(subject, end) for end in ends}
    versions = type(subject).objects.filter(status__in=HELD, **same)
    return list(versions.exclude(pk__in=anew.filter(kind=item.kind).values(item.kind)).select_related("server"))


def contradicting(remediation: Remediation) -> list[Any]:
    """What shows in the registry that the access is not gone; empty when nothing does."""
    held = held_now(remediation)
    if remediation.kind == Remediation.Kind.REVOKE:
        return held
    return [each for each in held if exceeds(each, remediation.kept)]


def exceeds(held: Grant | Connection, kept: Iterable[str]) -> bool:
    """Whether a relationship allows more than `kept`; a wildcard does, because tools are added later."""
    return bool(getattr(held, "all_tools", False) or atoms(held) - frozenset(kept))


def atoms(held: Grant | Connection) -> frozenset[str]:
    """What a relationship allows, in the words of `Decision.kept`: tools, or access levels and scopes."""
    if isinstance(held, Grant):
        if held.all_tools:
            return frozenset(held.server.tools.filter(retired_at=None).values_list("name", flat=True))
        return frozenset(held.tools)
    levels = [str(level) for level in ACCESS_LADDER]
    return frozenset(f"access:{level}" for level in levels[: levels.index(held.access) + 1]) | frozenset(held.scopes)


# --- Somebody outside --------------------------------------------------------------------------------------


class ManualExecutor:
    """Somebody outside of the registry has to do something; they report it with a ticket or change id.

    Taking the errand is all there is to do: the people concerned are told by `services.notices`.
    """

    channel = MANUAL

    def carry_out(self, remediation: Remediation) -> Report:
        return Report(False, detail=remediation.instruction or instruction(remediation))


register(RegistryExecutor())
register(ManualExecutor())


def route(remediation: Remediation) -> str:
    """The channel a new remediation takes: a static credential outlives whatever the registry says about it."""
    if remediation.kind == Remediation.Kind.REVOKE and lasting_credentials(remediation):
        return MANUAL
    return REGISTRY


def lasting_credentials(remediation: Remediation) -> Sequence[SecretSource]:
    """The static credentials that a revoked connection or server leaves valid at whoever issued them."""
    subject = remediation.item.subject
    sources = SecretSource.objects.filter(credential_type=SecretSource.CredentialType.STATIC, retired_at=None)
    match remediation.item.kind:
        case SubjectKind.CONNECTION:
            return list(sources.filter(pk=subject.secret_source_id))
        case SubjectKind.SERVER:
            return list(sources.filter(server=subject))
    return []


def instruction(remediation: Remediation) -> str:
    """What somebody has to do outside, from what the registry knows about the credentials."""
    found = lasting_credentials(remediation)
    if not found:
        return _("Take this access away where it was given, then report the ticket or change that did it.")
    lines = [
        _("Delete the credential %(reference)s where it was issued.") % {"reference": source.reference}
        + (_(" It can be revoked by: %(who)s.") % {"who": source.revocable_by} if source.revocable_by else "")
        for source in found
    ]
    return "\n".join(lines)[:2000]
