"""Panels: how a page of a lower room shows facts of an upper one without importing it.

An upper room registers a fragment by URL name in its `AppConfig.ready()`; the page loads it with htmx and links to
it without. The fragment takes the subject's id as its one argument, checks its own permission and fails alone.
"""

from dataclasses import dataclass
from uuid import UUID

from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise

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
