"""Frozen evidence put together for reading: facts, what is the subject's own, and its server's surroundings."""

from typing import Any

from registry.catalog.models import SecretSource

Json = dict[str, Any]


_REACH = ("system", "data_class", "environment", "access", "scopes", "secret_source")


def compose(snapshot: Json, block: Json | None) -> Json:
    """`{"facts", "context"}` as people and pages read it: nothing is looked up, everything follows from what is frozen.

    A snapshot does not repeat what the block around it says. A grant's facts hold the names of its tools and a
    digest over their definitions and classes (`definitions`), and a digest over what its server reaches (`reach`);
    here the rows behind them are filled in as `tools` and `downstream`, and the names of both ends.
    """
    facts, own = snapshot["facts"], snapshot["context"]
    context: Json = {**(block or {"secrets": []}), **own}
    context["secrets"] = [
        {**source, "shown": str(SecretSource.Kind(source["kind"]).label)} for source in context["secrets"]
    ]
    match facts["kind"]:
        case "grant":
            notes = {note["name"]: note for note in context["tools"]}
            context["tools"] = [notes[name] for name in facts["tool_names"] if name in notes]
            facts = {
                **facts,
                "tools": [_tool(name, notes.get(name)) for name in facts["tool_names"]],
                "downstream": [{fact: row[fact] for fact in _REACH} for row in context["connections"]],
            }
            agent = context["agent"] = {"id": facts["agent"], "identity": facts["agent_identity"], **own["agent"]}
            context["names"] = _with(
                context["names"], (facts["agent"], agent["name"]), (facts["agent_owner"], agent["owner"])
            )
        case "connection":
            system = context["system"] = {"id": facts["system"], **own["system"]}
            context["names"] = _with(
                context["names"], (facts["system"], system["name"]), (facts["system_owner"], system["owner"])
            )
        case "agent":
            context["agent"] = {"identity": facts["identity"], "kind": facts["agent_kind"], **own["agent"]}
    return {"facts": facts, "context": context}


def _tool(name: str, note: Json | None) -> Json:
    """A tool as the server's facts list it; one that the server no longer lists has neither definition nor class."""
    found = note or {"digest": "", "class": ""}
    return {"name": name, "digest": found["digest"], "class": found["class"]}


def _with(names: dict[str, str], *more: tuple[str | None, str]) -> dict[str, str]:
    return {**names, **{key: name for key, name in more if key is not None}}
