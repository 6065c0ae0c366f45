"""Whether somebody's provider still lets them in, for what acts for them without a browser.

A browser asks the provider again every few minutes; a token never does. So tokens and workloads of people who come
through a provider rest from the moment it refuses them, and when it has not confirmed them for OIDC_CONFIRM_DAYS, until
they sign in again (`User.rests_at`). For whom the directory provides only the first holds: who leaves, it says.
Times are those of the real clock, like those of sessions.
"""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from registry.accounts.models import ApiToken, ServicePrincipal, User
from registry.audit.services import record
from registry.core.actors import Actor


def vouch(*, user: User, actor: Actor) -> None:
    """Their provider let them in just now; `user` is locked. Part of signing in and of asking again."""
    rested, user.vouched_at, user.unvouched_at = user.is_resting, timezone.now(), None
    User.objects.filter(pk=user.pk).update(vouched_at=user.vouched_at, unvouched_at=None)
    if rested and (held := _held(user)):
        record(actor=actor, act="user.credentials_resumed", subject=user, data=held)


@transaction.atomic
def note_refusal(*, user: User, provider: str) -> None:
    """Their provider does not let them in any more, or not without asking them again."""
    user = User.objects.select_for_update().get(pk=user.pk)
    _rest(user, Actor.system(f"sign-in through {provider}"), because="refused", provider=provider)


def rest_unconfirmed() -> int:
    """Say of those nobody confirmed for OIDC_CONFIRM_DAYS that what acts for them rests. Returns how many people."""
    if not settings.OIDC_CONFIRM_DAYS:
        return 0
    late = timezone.now() - timedelta(days=settings.OIDC_CONFIRM_DAYS)
    acting = Q(pk__in=ApiToken.objects.usable().values("user")) | Q(
        pk__in=ServicePrincipal.objects.filter(state=ServicePrincipal.State.ACTIVE).values("owner")
    )
    due = User.objects.filter(acting, is_active=True, vouched_at__lte=late, unvouched_at=None)
    rested = 0
    for pk in list(due.values_list("pk", flat=True)):
        with transaction.atomic():
            user = due.select_for_update(of=("self",), skip_locked=True).filter(pk=pk).first()
            if user is not None and user.is_resting:
                _rest(user, Actor.system("credentials nobody confirms"), because="not confirmed")
                rested += 1
    return rested


def _rest(user: User, actor: Actor, **because: str) -> None:
    if user.unvouched_at is not None:
        return
    User.objects.filter(pk=user.pk).update(unvouched_at=timezone.now())
    if held := _held(user):
        record(actor=actor, act="user.credentials_rested", subject=user, data={**because, **held})


def _held(user: User) -> dict[str, list[str]]:
    """What acts for them now, by kind; empty when nothing does."""
    tokens = ApiToken.objects.usable().filter(user=user).order_by("pk").values_list("pk", flat=True)
    active = ServicePrincipal.objects.filter(owner=user, state=ServicePrincipal.State.ACTIVE)
    found = {"tokens": tokens, "principals": active.order_by("pk").values_list("pk", flat=True)}
    return {kind: [str(pk) for pk in keys] for kind, keys in found.items() if keys}
