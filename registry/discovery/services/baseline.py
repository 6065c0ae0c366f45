"""What people approved of a server, as a new watch finds it: whoever looks first is measured as everybody else."""

from collections.abc import Mapping
from typing import Any

from registry.catalog.models import Tool
from registry.core.canonical import canonical_json, digest
from registry.discovery.models import Definitions, Watch


def baseline(watch: Watch, listed: Definitions) -> Definitions | None:
    """What a watch that lists something for the first time is measured against; None when nothing is approved.

    Where another watch lists what was approved, so much of it as is listed here: an identity that sees less than
    another is no drift, one that sees what nobody approved is. Else what was typed in and approved.
    """
    others = list(
        Watch.objects.filter(server=watch.server_id, approved__isnull=False)
        .exclude(pk=watch.pk)
        .select_related("approved")
        .order_by("pushed", "id")
    )
    # The sort is stable: of those equally near, our own and the oldest comes first.
    others.sort(key=lambda each: (each.endpoint_id != watch.endpoint_id, each.identity != watch.identity))
    approved = [each.approved for each in others if each.approved is not None]
    if listed in approved:
        return listed
    seen = [each for each in approved if not each.typed]
    if seen:
        return _kept(_as_far_as_listed(seen, listed))
    return approved[0] if approved else _typed(watch)


def _as_far_as_listed(approved: list[Definitions], listed: Definitions) -> dict[str, Any]:
    tools: dict[str, tuple[Mapping[str, Any], str]] = {}
    for each in approved:
        for tool in each.tools:
            if tool["name"] in listed.tool_digests:
                tools.setdefault(tool["name"], (tool, each.tool_digests[tool["name"]]))
    nearest = approved[0]
    prompts = {each["name"] for each in listed.prompts}
    templates = {each["uriTemplate"] for each in listed.resource_templates}
    return {
        "tools": [dict(tools[name][0]) for name in sorted(tools)],
        "tool_digests": {name: tools[name][1] for name in sorted(tools)},
        "instructions": nearest.instructions if listed.instructions else "",
        "prompts": [each for each in nearest.prompts if each["name"] in prompts],
        "resource_templates": [each for each in nearest.resource_templates if each["uriTemplate"] in templates],
    }


def _typed(watch: Watch) -> Definitions | None:
    rows = Tool.objects.filter(server=watch.server_id, retired_at=None).exclude(approved_digest="").order_by("name")
    # What was changed since its approval is known by its name alone.
    tools = [_known(row) if row.approved else {"name": row.name} for row in rows]
    if not tools:
        return None
    digests = {row.name: row.approved_digest for row in rows}
    return _kept({"tools": tools, "tool_digests": digests, "typed": True})


def _known(row: Tool) -> dict[str, Any]:
    told = {"title": row.title, "description": row.description, "approvedClass": row.confirmed_class}
    return {"name": row.name, **{key: value for key, value in told.items() if value}, **row.definition}


def _kept(facts: Mapping[str, Any]) -> Definitions:
    said = {key: facts.get(key, "" if key == "instructions" else []) for key in _SAID}
    named = [[name, value] for name, value in facts["tool_digests"].items()]
    typed = {"typed": facts["tools"]} if facts.get("typed") else {}
    made = Definitions(
        digest=digest({"tools": named, **said, **typed}),
        size=len(canonical_json({"tools": facts["tools"], **said})),
        **facts,
    )
    Definitions.objects.bulk_create([made], ignore_conflicts=True)
    found: Definitions = Definitions.objects.get(pk=made.pk)
    return found


_SAID = ("instructions", "prompts", "resource_templates")
