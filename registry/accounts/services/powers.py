"""Roles that oversee others are given and taken by two people: one proposes, another confirms."""

from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from registry.accounts.models import POWERFUL, RoleProposal, User
from registry.accounts.services.federation import given_by_groups, in_order
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, NotIndependent
from registry.core.independence import require_independent
from registry.core.permissions import require
from registry.core.step_up import require_recent

State = RoleProposal.State


def decides_alone(actor: Actor) -> bool:
    """Whether nobody is there who could confirm: the beginning of an installation, or a demo with one administrator.

    Elsewhere security confirms too, so one administrator among them does not decide alone.
    """
    seconds = ["administrator"] if settings.EMBEDDED else ["administrator", "security"]
    if actor.is_system:
        return True
    others = User.objects.filter(is_active=True, roles__overlap=seconds).exclude(pk=actor.user.pk)
    return not others.exists()


def apply_roles(actor: Actor, user: User, wanted: list[str]) -> User:
    """Give `wanted` at once where one person may, else propose it; the caller has asked who may and holds the row.

    Nobody gives themselves a role, however many confirm it, except who decides alone, and then the evidence says so.
    """
    before = user.roles
    after = in_order({*wanted, *given}) if (given := given_by_groups(user)) else wanted
    themselves, changed = actor.is_person(user.pk), set(before) ^ set(after)
    if themselves and "administrator" in before and "administrator" not in after:
        raise Conflict(_("You cannot take the administrator role from yourself."))
    if changed.isdisjoint(POWERFUL) and not (themselves and set(after) - set(before)):
        return note_roles(actor, user, after)
    alone = decides_alone(actor)
    if themselves and not alone:
        raise NotIndependent(_("Nobody gives themselves a role. Ask another administrator."))
    if alone:
        return note_roles(actor, user, after, **({} if actor.is_system else {"alone": True}))
    _propose(actor, user, wanted)
    return user


def note_roles(actor: Actor, user: User, after: Iterable[str], **facts: object) -> User:
    before, user.roles = user.roles, list(after)
    user.save(update_fields=["roles"])
    record(actor=actor, act="user.roles_set", subject=user, data={"before": before, "after": user.roles, **facts})
    return user


def _propose(actor: Actor, user: User, wanted: list[str]) -> RoleProposal:
    """The newest wish counts: what was proposed for this person before is withdrawn."""
    for earlier in RoleProposal.objects.select_for_update().filter(user=user, state=State.PROPOSED):
        _settle(actor, earlier, State.WITHDRAWN)
    proposal = RoleProposal.objects.create(user=user, roles=wanted, proposed_by=actor.user)
    record(actor=actor, act="user.roles_proposed", subject=user, data={"before": user.roles, "after": wanted})
    return proposal


def _settle(actor: Actor, proposal: RoleProposal, state: str) -> None:
    proposal.state, proposal.decided_by, proposal.decided_at = state, actor.user, clock.now()
    proposal.save()
    data = {"proposal": str(proposal.pk), "roles": proposal.roles}
    record(actor=actor, act=f"user.roles_{state}", subject=proposal.user, data=data)


@transaction.atomic
def decide_roles(
    *, actor: Actor, proposal: RoleProposal, confirm: bool, expected_version: str | None = None
) -> RoleProposal:
    """The second person's word. Whoever proposed it may take it back; nobody confirms what they proposed or would get.

    Raises `Conflict` when it is settled, or when whoever proposed it may no longer do so.
    """
    require(actor, "accounts.decide_roles")
    require_recent(actor, _("Decide on roles"))
    proposal = RoleProposal.objects.select_for_update(of=("self",)).select_related("proposed_by").get(pk=proposal.pk)
    proposal.check_version(expected_version)
    if proposal.state != State.PROPOSED:
        raise Conflict(_("This is settled already."))
    if not confirm:
        _settle(actor, proposal, State.WITHDRAWN if actor.is_person(proposal.proposed_by_id) else State.REFUSED)
        return proposal
    require_independent(actor, proposal)
    if not Actor.person(proposal.proposed_by).has_role("administrator"):
        raise Conflict(_("Whoever proposed this is no administrator any more. Refuse it, then propose it anew."))
    user = User.objects.select_for_update().get(pk=proposal.user_id)
    _settle(actor, proposal, State.CONFIRMED)
    after = in_order({*proposal.roles, *given_by_groups(user)})
    note_roles(actor, user, after, proposed_by=str(proposal.proposed_by_id))
    return proposal
