"""Panels and offers: how a page of a lower room shows facts and acts of an upper one without importing it.

An upper room registers a fragment by URL name in its `AppConfig.ready()`; the page loads it with htmx and links to
it without. The fragment takes the subject's id as its one argument, checks its own permission and fails alone.

An offer is a link on a list to what an upper room does with exactly the things the list shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.http import QueryDict
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise

from registry.core.actors import Actor
from registry.core.icons import Icon
from registry.core.pagination import NEWER, OLDER
from registry.core.permissions import allows

_panels: dict[str, list["Panel"]] = {}


@dataclass(frozen=True)
class Panel:
    url_name: str
    title: "str | Promise"
    order: int


@dataclass(frozen=True)
class PlacedPanel:
    """A panel with its address for one subject; `room` says whose facts it shows."""

    id: str
    room: str
    title: "str | Promise"
    url: str


def register(*, page: str, url_name: str, title: "str | Promise", order: int = 50) -> None:
    """Show the fragment `url_name` on `page` ("server", "system", "agent", …). A second time changes nothing."""
    panels = _panels.setdefault(page, [])
    if all(panel.url_name != url_name for panel in panels):
        panels.append(Panel(url_name, title, order))
        panels.sort(key=lambda panel: panel.order)


def panels_for(page: str, subject_id: UUID) -> list[PlacedPanel]:
    """The panels of `page` for one subject, in order. One whose URL does not exist here is left out."""
    placed = []
    for panel in _panels.get(page, []):
        try:
            url = reverse(panel.url_name, args=[subject_id])
        except NoReverseMatch:
            continue
        room, _colon, _name = panel.url_name.partition(":")
        placed.append(PlacedPanel(panel.url_name.replace(":", "-").replace("_", "-"), room, panel.title, url))
    return placed


# --- Offers ----------------------------------------------------------------------------------------------

_offers: dict[str, list["Offer"]] = {}


@dataclass(frozen=True)
class Offer:
    """What can be done with what a list shows. `url_name` takes the list's filters; `more` is asked besides them."""

    url_name: str
    title: "str | Promise"
    icon: Icon
    permission: str
    more: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class PlacedOffer:
    title: "str | Promise"
    icon: Icon
    url: str


def offer(
    *,
    page: str,
    url_name: str,
    title: "str | Promise",
    icon: Icon,
    permission: str,
    more: Sequence[tuple[str, str]] = (),
) -> None:
    """Link the list `page` ("servers", "agents", …) to `url_name`, for those with `permission`. A second time changes
    nothing."""
    offers = _offers.setdefault(page, [])
    if all(each.url_name != url_name for each in offers):
        offers.append(Offer(url_name, title, icon, permission, more))


def offers_for(page: str, actor: Actor, query: QueryDict) -> list[PlacedOffer]:
    """What `actor` may do with what `page` shows for `query`, each with the filters in its address."""
    placed = []
    for each in _offers.get(page, []):
        if not allows(actor, each.permission):
            continue
        asked = query.copy()
        for cursor in (NEWER, OLDER):
            asked.pop(cursor, None)
        for name, value in each.more:
            asked.appendlist(name, value)
        placed.append(PlacedOffer(each.title, each.icon, f"{reverse(each.url_name)}?{asked.urlencode()}"))
    return placed
