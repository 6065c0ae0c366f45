"""Which group gives which role. Where that is a role that oversees others, two people say so, and two take it back."""

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from registry.accounts.models import POWERFUL, GroupGrant, GroupRole, Role, User
from registry.accounts.services.federation import grant_group_roles, known_sources, roles_of_groups
from registry.accounts.services.powers import decides_alone
from registry.audit.services import record
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotIndependent
from registry.core.independence import require_independent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent

State = GroupRole.State


@transaction.atomic
def map_group(*, actor: Actor, group: str, role: str, provider: str = "") -> GroupRole:
    """Whoever is in `group` has `role` from now on: at once where the groups are known, else at the next sign-in.

    An empty `provider` means every provider and the directory. A role that oversees others is only proposed, unless
    nobody is there to confirm it; nobody gives themselves a role by a group they are in.
    """
    require(actor, "accounts.map_groups")
    require_recent(actor, _("Let a group give a role"))
    group, provider = group.strip(), provider.strip()
    refuse_secrets({"group": group})
    errors: dict[str, list[str]] = {}
    if not group:
        errors["group"] = ["Name the group exactly as the provider sends it."]
    if role not in Role.values:
        errors["role"] = [f"Not a role. Known: {', '.join(Role.values)}"]
    if provider and provider not in known_sources():
        errors["provider"] = [f"Not a source of groups here. Known: {', '.join(known_sources())}"]
    if errors:
        raise Invalid(fields=errors)
    if GroupRole.objects.filter(provider=provider, group=group, role=role).exists():
        raise Conflict("This group has this role already.", fields={"group": ["Has this role already."]})
    mapping = GroupRole(provider=provider, group=group, role=role)
    alone = decides_alone(actor)
    if not alone:
        _refuse_own_gain(actor, mapping)
    if role in POWERFUL and not alone:
        mapping.state, mapping.proposed_by = State.PROPOSED, actor.user
        mapping.save()
        record(actor=actor, act="group_role.proposed", subject=mapping, data=_told(mapping))
        return mapping
    mapping.save()
    record(actor=actor, act="group_role.created", subject=mapping, data=_told(mapping) | _said_alone(actor, role))
    _apply_to_everybody(actor, mapping)
    return mapping


@transaction.atomic
def unmap_group(*, actor: Actor, mapping: GroupRole) -> GroupRole | None:
    """The group no longer gives the role; whoever had it only because of that loses it at once.

    A role that oversees others is taken by two people too: then the mapping is returned, as one to be removed.
    """
    require(actor, "accounts.map_groups")
    require_recent(actor, _("End what a group gives"))
    mapping = GroupRole.objects.select_for_update().get(pk=mapping.pk)
    if mapping.state != State.ACTIVE:
        raise Conflict(_("This waits for a second person already."))
    _refuse_own_loss(actor, mapping)
    if not decides_alone(actor) and mapping.role in POWERFUL:
        mapping.state, mapping.proposed_by = State.ENDING, actor.user
        mapping.save()
        record(actor=actor, act="group_role.removal_proposed", subject=mapping, data=_told(mapping))
        return mapping
    _remove(actor, mapping, _said_alone(actor, mapping.role))
    return None


@transaction.atomic
def decide_group_role(
    *, actor: Actor, mapping: GroupRole, confirm: bool, expected_version: str | None = None
) -> GroupRole | None:
    """The second person's word on a mapping that waits. Returns what is in force of it afterwards.

    Whoever proposed it may take it back; nobody confirms what they proposed, or what would give a role to themselves.
    Raises `Conflict` when it is settled, or when whoever proposed it may no longer do so.
    """
    require(actor, "accounts.decide_roles")
    require_recent(actor, _("Decide on roles"))
    rows = GroupRole.objects.select_for_update(of=("self",)).select_related("proposed_by")
    mapping = rows.get(pk=mapping.pk)
    mapping.check_version(expected_version)
    begins, proposer = mapping.state == State.PROPOSED, mapping.proposed_by
    if mapping.state == State.ACTIVE or proposer is None:
        raise Conflict(_("This is settled already."))
    if not confirm:
        word = "withdrawn" if actor.is_person(proposer.pk) else "refused"
        data = _told(mapping) | {"removal": not begins}
        record(actor=actor, act=f"group_role.{word}", subject=mapping, data=data)
        if not begins:
            return _in_force(mapping)
        _drop(mapping)
        return None
    require_independent(actor, mapping)
    if not Actor.person(proposer).has_role("administrator"):
        raise Conflict(_("Whoever proposed this is no administrator any more. Refuse it, then propose it anew."))
    second: dict[str, object] = {"proposed_by": str(proposer.pk)}
    if not begins:
        _refuse_own_loss(actor, mapping)
        _remove(actor, mapping, second)
        return None
    _refuse_own_gain(actor, mapping)
    _in_force(mapping)
    record(actor=actor, act="group_role.created", subject=mapping, data=_told(mapping) | second)
    _apply_to_everybody(actor, mapping)
    return mapping


def _in_force(mapping: GroupRole) -> GroupRole:
    mapping.state, mapping.proposed_by = State.ACTIVE, None
    mapping.save()
    return mapping


def _drop(mapping: GroupRole) -> None:
    GroupRole.objects.filter(pk=mapping.pk).delete()


def _remove(actor: Actor, mapping: GroupRole, facts: dict[str, object]) -> None:
    record(actor=actor, act="group_role.deleted", subject=mapping, data=_told(mapping) | facts)
    _drop(mapping)
    _apply_to_everybody(actor, mapping)


def _said_alone(actor: Actor, role: str) -> dict[str, object]:
    return {"alone": True} if role in POWERFUL and not actor.is_system else {}


def _concerned(mapping: GroupRole) -> QuerySet[GroupGrant]:
    found = GroupGrant.objects.filter(groups__contains=[mapping.group])
    return found.filter(provider=mapping.provider) if mapping.provider else found


def _apply_to_everybody(actor: Actor, mapping: GroupRole) -> None:
    for grant in _concerned(mapping).select_related("user").order_by("user_id"):
        grant_group_roles(user=grant.user, provider=grant.provider, groups=grant.groups, actor=actor)


def _refuse_own_gain(actor: Actor, mapping: GroupRole) -> None:
    if actor.user is None or User.objects.filter(pk=actor.user.pk, roles__contains=[mapping.role]).exists():
        return
    if _concerned(mapping).filter(user=actor.user).exists():
        raise NotIndependent(_("You are in this group: nobody gives themselves a role. Ask another administrator."))


def _refuse_own_loss(actor: Actor, mapping: GroupRole) -> None:
    """Nobody takes the administrator role from themselves: with it would go the way back."""
    if actor.user is None or mapping.role != Role.ADMINISTRATOR:
        return
    given = list(GroupGrant.objects.filter(user=actor.user, roles__contains=[mapping.role]))
    if given and not any(
        mapping.role in roles_of_groups(each.provider, each.groups, besides=mapping) for each in given
    ):
        raise Conflict("You would take the administrator role from yourself. Somebody else has to do it.")


def _told(mapping: GroupRole) -> dict[str, object]:
    return {"provider": mapping.provider, "group": mapping.group, "role": mapping.role}
