"""What pages say about identities, groups and browsers, in words."""

import re
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext as _

from registry.accounts.models import BrowserSession, Role, User
from registry.accounts.queries import browsers_of

_BROWSERS = (
    (r"Edg(?:e|A|iOS)?/", "Edge"),
    (r"OPR/|Opera", "Opera"),
    (r"Firefox/|FxiOS/", "Firefox"),
    (r"Chrome/|CriOS/|Chromium/", "Chrome"),
    (r"Safari/", "Safari"),
)
_SYSTEMS = (
    (r"Android", "Android"),
    (r"iPhone|iPad", "iOS"),
    (r"Windows", "Windows"),
    (r"Mac OS X|Macintosh", "macOS"),
    (r"Linux|X11", "Linux"),
)


def browser_name(agent: str) -> str:
    """ "Firefox on Linux": enough to recognise one's own. What a browser says of itself proves nothing."""
    name = next((name for pattern, name in _BROWSERS if re.search(pattern, agent)), "")
    system = next((name for pattern, name in _SYSTEMS if re.search(pattern, agent)), "")
    if name and system:
        return _("%(browser)s on %(system)s") % {"browser": name, "system": system}
    return name or system or _("Unknown browser")


def source_title(name: str) -> str:
    """What a source of identities or groups is called."""
    provider = settings.OIDC_PROVIDERS.get(name)
    if provider is not None:
        return str(provider.title)
    return {"": _("Anywhere"), "scim": _("Directory (SCIM)")}.get(name, name)


@dataclass(frozen=True)
class Grant:
    """The groups of somebody at one source, and what they give; `roles` are their names for people."""

    source: str
    groups: str
    roles: list[str]


def grants_of(user: User) -> list[Grant]:
    return [
        Grant(source_title(grant.provider), ", ".join(grant.groups), [str(Role(role).label) for role in grant.roles])
        for grant in user.group_grants.all()
        if grant.groups
    ]


def identities_of(user: User) -> list[tuple[str, str]]:
    """Where somebody signs in, and the subject they are there."""
    return [(source_title(identity.provider), identity.subject) for identity in user.identities.all()]


@dataclass(frozen=True)
class Browser:
    session: BrowserSession
    name: str
    source: str
    here: bool


def sessions_of(user: User, here: UUID | None) -> list[Browser]:
    """Where somebody is signed in, this browser first."""
    found = [
        Browser(
            session,
            browser_name(session.agent),
            source_title(session.provider) if session.provider else "",
            session.pk == here,
        )
        for session in browsers_of(user)
    ]
    return sorted(found, key=lambda each: not each.here)
