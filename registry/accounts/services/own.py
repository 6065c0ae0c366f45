"""What people do for themselves: preferences, password, being there."""

from collections.abc import Mapping
from uuid import UUID

from django.db import transaction

from registry.accounts.models import User
from registry.accounts.services.people import check_password
from registry.accounts.services.sessions import end_sessions_of
from registry.audit.services import record
from registry.core.actors import Actor
from registry.core.errors import Invalid
from registry.core.permissions import require


@transaction.atomic
def change_password(
    *, actor: Actor, current_password: str, new_password: str, keep_session: UUID | None = None
) -> User:
    """Change one's own password; every browser but the one this is said in is signed out.

    Raises `Invalid` when the current one is wrong or the new one too weak.
    """
    require(actor, "accounts.edit_self")
    user = User.objects.select_for_update().get(pk=actor.user.pk)
    if not user.check_password(current_password):
        raise Invalid(fields={"current_password": ["This is not your current password."]})
    check_password(new_password, user, "new_password")
    if user.password_given and user.check_password(new_password):
        raise Invalid(fields={"new_password": ["Somebody else knows this one. Choose your own."]})
    user.set_password(new_password)
    user.password_given = False
    user.save(update_fields=["password", "password_given"])
    record(actor=actor, act="user.password_changed", subject=user)
    end_sessions_of(user=user, keep=keep_session)
    return user


@transaction.atomic
def set_preferences(*, actor: Actor, single_keys: bool) -> User:
    """How the pages behave for oneself."""
    require(actor, "accounts.edit_self")
    user = User.objects.select_for_update().get(pk=actor.user.pk)
    if user.single_keys != single_keys:
        user.single_keys = single_keys
        user.save(update_fields=["single_keys"])
        record(actor=actor, act="user.preferences_set", subject=user, data={"single_keys": single_keys})
    return user


@transaction.atomic
def record_presence(*, user: User, act: str, request_id: str, data: Mapping[str, str]) -> None:
    """Evidence of a sign-in, a sign-out, a failed sign-in or a session's end. Nothing to permit: it happened."""
    record(
        actor=Actor.person(user, request_id) if act != "user.sign_in_failed" else Actor.anonymous(),
        act=act,
        subject=user,
        data=data,
    )
