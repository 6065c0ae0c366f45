"""Template context every page needs: who acts, the theme, the navigation, and whether this is the demo profile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise, SimpleLazyObject
from django.utils.translation import gettext_lazy as _

from registry.core.actors import Actor
from registry.core.icons import Icon

THEMES = ("light", "dark")


@dataclass(frozen=True)
class Entry:
    """`key` is what a page puts into `nav` to mark itself; `keys` is the shortcut shown and obeyed."""

    key: str
    url_name: str
    label: "str | Promise"
    icon: Icon
    keys: str = ""
    for_members: bool = True


MAIN = (
    Entry("work", "portal:home", _("My work"), Icon.INBOX, "g h"),
    Entry("servers", "catalog:servers", _("Servers"), Icon.SERVER, "g s"),
    Entry("reviews", "reviews:campaigns", _("Reviews"), Icon.LIST_CHECKS, "g r"),
    Entry("trust", "trust:explore", _("Trust"), Icon.SHARE, "g t"),
    Entry("systems", "catalog:systems", _("Systems"), Icon.DATABASE, "g y"),
    Entry("agents", "catalog:agents", _("Agents"), Icon.BOT, "g a"),
    Entry("drift", "discovery:drifts", _("Drift"), Icon.GIT_COMPARE, "g d"),
    Entry("imports", "discovery:imports", _("Imports"), Icon.FILE_INPUT, "g i"),
    Entry("registries", "discovery:registries", _("Followed registries"), Icon.GLOBE, "g f"),
    Entry("shadows", "discovery:shadows", _("Shadow servers"), Icon.EYE, "g n"),
    Entry("secret_sources", "discovery:secret_sources", _("Secret sources"), Icon.KEY_ROUND, "g k"),
    Entry("publishing", "discovery:publishing", _("Publishing"), Icon.SEND, "g b"),
)
EVIDENCE = (Entry("audit", "audit:events", _("Audit trail"), Icon.BOOK_TEXT, "g l"),)
BOTTOM = (
    Entry("machines", "accounts:machines", _("Machines"), Icon.FINGERPRINT),
    Entry("people", "accounts:people", _("People and teams"), Icon.USERS),
    Entry("api", "portal:api_docs", _("API"), Icon.BRACES),
    Entry("account", "accounts:account", _("Account"), Icon.CIRCLE_USER, for_members=False),
    Entry("help", "help", _("Help and shortcuts"), Icon.CIRCLE_QUESTION_MARK, "?", for_members=False),
)

BADGE_MOST = 99
"""The largest number drawn beside an entry; what is above reads "99+"."""
_badges: dict[str, Callable[[Actor], int]] = {}


def badge(key: str, count: Callable[[Actor], int]) -> None:
    """An upper room's count beside a navigation entry ("work": what waits for me).

    It runs on every whole page, so it need not count beyond `BADGE_MOST + 1`.
    """
    _badges[key] = count


@dataclass(frozen=True)
class Banner:
    """A sentence above every page, with where it leads."""

    words: str
    url: str
    label: str = ""
    """What it is about, for those who hear the page."""


_banners: list[Callable[[Actor], list[Banner]]] = []


def banner(says: Callable[[Actor], list[Banner]]) -> None:
    """An upper room's word to whom it concerns, on every whole page until it is over."""
    _banners.append(says)


@dataclass(frozen=True)
class NavLink:
    entry: Entry
    url: str
    count: int = 0

    @property
    def badge(self) -> str:
        return f"{BADGE_MOST}+" if self.count > BADGE_MOST else str(self.count)


def _links(entries: tuple[Entry, ...], actor: Actor) -> list[NavLink]:
    """Only what the reader may open, and only pages that exist in this installation."""
    links = []
    for entry in entries:
        if entry.for_members and not actor.roles:
            continue
        try:
            url = reverse(entry.url_name)
        except NoReverseMatch:
            continue
        count = _badges[entry.key](actor) if entry.key in _badges else 0
        links.append(NavLink(entry, url, count))
    return links


def navigation(actor: Actor) -> dict[str, list[NavLink]]:
    return {
        name: _links(entries, actor) for name, entries in (("main", MAIN), ("evidence", EVIDENCE), ("bottom", BOTTOM))
    }


def shell(request: HttpRequest) -> dict[str, Any]:
    theme = request.COOKIES.get("theme", "")
    actor: Actor | None = getattr(request, "actor", None)
    return {
        "actor": actor,
        "theme": theme if theme in THEMES else "",
        "embedded": settings.EMBEDDED,
        "banners": SimpleLazyObject(lambda: [each for says in _banners for each in says(actor)])
        if actor is not None and actor.user
        else None,
        # Lazy: a fragment has no navigation, so it does not pay for the counts.
        "navigation": SimpleLazyObject(lambda: navigation(actor)) if actor is not None and actor.user else None,
    }
