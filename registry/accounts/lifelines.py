"""What the registry cannot do without: somebody who administers it, and the directory's word on who left.

The directory's credential ends with its owner, at its hour, or by revocation. From then on every call of the directory
is refused, and nobody here hears of the next leaver. What nobody asks stays silent: so this is looked at by the clock,
said above every page to security and administrators, and by `manage.py doctor` and `/readyz`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from registry.accounts.models import ApiToken, Role, ServicePrincipal, User
from registry.core import clock
from registry.core.actors import Actor

ENDS_WITHIN = timedelta(days=14)
REMEMBERED = 30
"""Seconds for which every page believes what was found last."""
PROVISION = "accounts:provision"
Credential = ApiToken | ServicePrincipal
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Broken:
    """A lifeline that is cut, or soon will be. `about` is the credential or person whose end it is."""

    kind: str
    """`directory_lost`, `directory_ends` or `no_administrator`."""
    words: str
    cure: str
    page: str
    """The name of the page where somebody mends it."""
    about: Credential | User
    since: datetime
    """When it ended, or will."""

    @property
    def url(self) -> str:
        return reverse(self.page)


def broken() -> list[Broken]:
    """What is wrong now, the worst first."""
    return [each for each in (_administrators(), _directory()) if each is not None]


def known_broken(reader: Actor) -> list[tuple[str, str]]:
    """The same as (words, page), remembered for each reader for a moment: every page of theirs asks."""
    key = f"accounts.lifelines.{reader.user_id}"
    found: list[tuple[str, str]] | None = cache.get(key)
    if found is None:
        found = [(f"{each.words} {each.cure}", each.page) for each in broken()]
        cache.set(key, found, REMEMBERED)
    return found


def trouble_of_directory() -> str:
    return _said(_directory())


def trouble_of_administrators() -> str:
    return _said(_administrators())


def _said(found: Broken | None) -> str:
    return f"{found.words} {found.cure}" if found else ""


def _day(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%d %B %Y, %H:%M %Z}"


# --- Administrators ---------------------------------------------------------------------------------------


def _administrators() -> Broken | None:
    """Nobody administers an installation that somebody administered before."""
    ever: QuerySet[User] = User.objects.filter(roles__contains=[Role.ADMINISTRATOR])
    last = ever.order_by("-is_active", "-left_at").first()
    if last is None or last.is_active:
        return None
    left = last.left_at or last.updated_at
    return Broken(
        kind="no_administrator",
        words=_("Nobody active is an administrator any more; the last one left on %(day)s.") % {"day": _day(left)},
        cure=_("Whoever runs the server adds one: manage.py create_user --roles administrator."),
        page="accounts:people",
        about=last,
        since=left,
    )


# --- The directory ----------------------------------------------------------------------------------------


def _directory() -> Broken | None:
    """Nothing while a directory was never connected, or is no longer on purpose (SCIM_WATCH)."""
    if not settings.SCIM_WATCH:
        return None
    every: list[Credential] = [
        *ApiToken.objects.filter(scopes__contains=[PROVISION]).select_related("user"),
        *ServicePrincipal.objects.filter(scopes__contains=[PROVISION]).select_related("owner"),
    ]
    now = clock.now()
    ends = {each: _ends(each) for each in every if _works(each)}
    good = {each: end for each, end in ends.items() if end is None or end > now}
    if good:
        last, end = max(good.items(), key=lambda each: each[1] or _NEVER)
        if end is None or end - now > ENDS_WITHIN:
            return None
        return Broken(
            kind="directory_ends",
            words=_("The directory's last credential, %(name)s, ends on %(day)s.")
            % {"name": last.name, "day": _day(end)},
            cure=_("Renew it, or let a service principal take its place, or nobody hears of leavers any more."),
            page="accounts:machine_findings",
            about=last,
            since=end,
        )
    heard = [each for each in every if each.last_used_at is not None]
    if not heard:
        return None
    newest = max(heard, key=lambda each: each.last_used_at)  # type: ignore[arg-type, return-value]
    return Broken(
        kind="directory_lost",
        words=_(
            "The directory is not heard any more: its last credential, %(name)s, has ended. Its last call: %(day)s."
        )
        % {"name": newest.name, "day": _day(newest.last_used_at)},  # type: ignore[arg-type]
        cure=_("Whoever leaves now keeps their access. Give the directory a new credential (docs/directory.md)."),
        page="accounts:machine_findings",
        about=newest,
        since=newest.last_used_at or newest.updated_at,
    )


def _works(credential: Credential) -> bool:
    """As `is_provisioner` asks: an administrator who is here, behind a credential that was not taken back."""
    owner = _owner(credential)
    if not owner.is_active or Role.ADMINISTRATOR not in owner.roles:
        return False
    if isinstance(credential, ApiToken):
        return credential.revoked_at is None
    return credential.state == ServicePrincipal.State.ACTIVE


def _owner(credential: Credential) -> User:
    return credential.user if isinstance(credential, ApiToken) else credential.owner


def _ends(credential: Credential) -> datetime | None:
    """When it stops working, as far as is known: its own end, or the day from which its owner's credentials rest."""
    ends = [_owner(credential).rests_at, credential.expires_at if isinstance(credential, ApiToken) else None]
    return min((end for end in ends if end is not None), default=None)
