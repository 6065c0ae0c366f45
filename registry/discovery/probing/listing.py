"""Everything a server lists, page by page, within limits."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from registry.discovery.models import Snapshot
from registry.discovery.probing import protocol
from registry.discovery.probing.conversation import Conversation
from registry.discovery.probing.eras import Ended, Greeting
from registry.discovery.probing.steps import Say
from registry.discovery.seen import Listing

MAX_PAGES = 100
MAX_ENTRIES = 5_000


def read_listing(conversation: Conversation, greeting: Greeting, say: Say) -> tuple[Listing, int]:
    """Tools always, prompts and resource templates where the server says it has them; with the number of pages.

    Raises `Ended`: half a list would look like a server that dropped the other half.
    """
    pages = 0
    found: dict[str, list[Mapping[str, Any]]] = {}
    for key, method, capability in (
        ("tools", "tools/list", None),
        ("prompts", "prompts/list", "prompts"),
        ("resourceTemplates", "resources/templates/list", "resources"),
    ):
        found[key] = []
        if capability is None or capability in greeting.capabilities:
            found[key], read = _pages(conversation, method, key)
            pages += read
    say(
        _("It lists %(tools)d tools, %(prompts)d prompts and %(templates)d resource templates.")
        % {
            "tools": len(found["tools"]),
            "prompts": len(found["prompts"]),
            "templates": len(found["resourceTemplates"]),
        },
        "pass",
    )
    listing = Listing(
        tools=found["tools"],
        instructions=greeting.instructions,
        prompts=found["prompts"],
        resource_templates=found["resourceTemplates"],
    )
    return listing, pages


def _pages(conversation: Conversation, method: str, key: str) -> tuple[list[Mapping[str, Any]], int]:
    entries: list[Mapping[str, Any]] = []
    cursor: str | None = None
    seen: set[str] = set()
    for page in range(1, MAX_PAGES + 1):
        reply = conversation.ask(method, {"cursor": cursor} if cursor else None)
        if reply.asks_for_token:
            raise Ended(Snapshot.Outcome.PROTECTED, _("It greets everybody and asks for a token to list."), reply=reply)
        if reply.code == protocol.METHOD_NOT_FOUND and page == 1:
            return [], page
        result = reply.result
        listed = result.get(key) if result else None
        if result is None or not isinstance(listed, list) or not all(_named(each) for each in listed):
            said = _("It answers %(method)s with %(status)s and no list.") % {"method": method, "status": reply.status}
            if reply.code is not None:
                said = _("It answers %(method)s with error %(code)s.") % {"method": method, "code": reply.code}
            raise Ended(Snapshot.Outcome.FAILED, said, reply=reply)
        entries += listed
        if len(entries) > MAX_ENTRIES:
            said = _("%(method)s lists more than %(count)d entries.") % {"method": method, "count": MAX_ENTRIES}
            raise Ended(Snapshot.Outcome.TOO_LARGE, said)
        cursor = result.get("nextCursor")
        if not cursor:
            return entries, page
        if not isinstance(cursor, str) or cursor in seen:
            raise Ended(
                Snapshot.Outcome.FAILED, _("The pages of %(method)s go round in a circle.") % {"method": method}
            )
        seen.add(cursor)
    said = _("%(method)s has more than %(count)d pages.") % {"method": method, "count": MAX_PAGES}
    raise Ended(Snapshot.Outcome.TOO_LARGE, said)


def _named(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str) and bool(entry["name"])
