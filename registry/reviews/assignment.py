"""Choosing reviewers: deterministic, by rule and load, never anybody who is barred.

The same subjects in the same order with the same pool always give the same reviewers, so that an interrupted launch
goes on as if nothing had happened.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import User
from registry.core.independence import Decidable, bars
from registry.reviews.models import TemplateStage

REVIEWING_ROLES = frozenset({"reviewer", "security"})


@dataclass(frozen=True)
class Choice:
    reviewer: User
    because: str


@dataclass(frozen=True)
class Preferred:
    """Somebody the rule asks first, for example the owner of the system reached."""

    user: User
    because: str


def may_review(user: User, kind: str) -> bool:
    """Servers are certified by reviewers and security, whose word also approves tools; the rest by any member."""
    if not user.is_active or not user.roles:
        return False
    return kind != "server" or not REVIEWING_ROLES.isdisjoint(user.roles)


@dataclass
class Assigner:
    """Hands out subjects one by one and keeps count. `pool` is who may be asked, with their load at the start."""

    pool: Mapping[UUID, User]
    load: dict[UUID, int]
    prefer: Callable[[object], Sequence[Preferred]] = lambda subject: ()

    def choose(self, thing: Decidable, *, kind: str, subject: object, without: Collection[UUID] = ()) -> Choice | None:
        """The reviewer of `thing`, or None when nobody independent is left."""
        for preferred in self.prefer(subject):
            user = preferred.user
            if user.pk not in without and may_review(user, kind) and not bars(user.pk, thing):
                return self._give(user, preferred.because)
        free = [
            user
            for user in self.pool.values()
            if user.pk not in without and may_review(user, kind) and not bars(user.pk, thing)
        ]
        if not free:
            return None
        user = min(free, key=lambda user: (self.load.get(user.pk, 0), str(user.pk)))
        barred = len(self.pool) - len(free)
        because = ngettext(
            "The only independent reviewer in the pool.",
            "Has the fewest items of %(count)d independent reviewers in the pool.",
            len(free),
        ) % {"count": len(free)}
        if barred:
            told = ngettext("%(count)d person is barred.", "%(count)d people are barred.", barred)
            because = f"{because} {told % {'count': barred}}"
        return self._give(user, because)

    def _give(self, user: User, because: str) -> Choice:
        self.load[user.pk] = self.load.get(user.pk, 0) + 1
        return Choice(user, because)


def preference(
    rule: str, reached: Mapping[UUID, Sequence[tuple[User, str]]]
) -> Callable[[object], Sequence[Preferred]]:
    """Whom a template's rule asks first. `reached` names the owners of the systems each server reaches, worst first."""

    def server_of(subject: object) -> object:
        return getattr(subject, "server", None) or subject

    def system_owners(subject: object) -> Iterable[Preferred]:
        system = getattr(subject, "system", None)
        owners = (
            [(system.owner, system.name)] if system is not None else reached.get(server_of(subject).pk, ())  # type: ignore[attr-defined]
        )
        for owner, name in owners:
            if owner is not None:
                yield Preferred(owner, _("Owns %(system)s, which this reaches.") % {"system": name})

    def team_lead(subject: object) -> Iterable[Preferred]:
        team = getattr(server_of(subject), "team", None)
        if team is not None and team.lead is not None:
            yield Preferred(team.lead, _("Leads %(team)s, the responsible team.") % {"team": team.name})

    match rule:
        case TemplateStage.ReviewerRule.SYSTEM_OWNER:
            return lambda subject: list(system_owners(subject))
        case TemplateStage.ReviewerRule.TEAM_LEAD:
            return lambda subject: list(team_lead(subject))
    return lambda subject: ()
