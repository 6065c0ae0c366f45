"""Whose configuration a document is, and where in it the entries are."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from registry.core.secrets import Path

CLIENTS = {
    "claude-desktop": "Claude Desktop",
    "claude-code": "Claude Code",
    "vscode": "VS Code",
    "cursor": "Cursor",
    "windsurf": "Windsurf",
    "codex": "Codex",
    "continue": "Continue",
    "copilot-cli": "Copilot CLI",
    "other": _("Another client"),
}
_BY_FILE = (
    (re.compile(r"claude_desktop_config\.json$"), "claude-desktop", "user"),
    (re.compile(r"(?:^|/)\.claude\.json$"), "claude-code", "user"),
    (re.compile(r"(?:^|/)(?:etc/claude-code|claudecode)/managed-mcp\.json$"), "claude-code", "system"),
    (re.compile(r"(?:^|/)\.vscode/(?:mcp|settings)\.json$"), "vscode", "project"),
    (re.compile(r"(?:^|/)code(?: - insiders)?/user/(?:mcp|settings)\.json$"), "vscode", "user"),
    (re.compile(r"(?:^|/)\.cursor/mcp\.json$"), "cursor", ""),
    (re.compile(r"(?:^|/)mcp_config\.json$"), "windsurf", "user"),
    (re.compile(r"(?:^|/)\.codex/config\.toml$"), "codex", "user"),
    (re.compile(r"(?:^|/)\.continue/config\.json$"), "continue", "user"),
    (re.compile(r"(?:^|/)mcp-config\.json$"), "copilot-cli", "user"),
    (re.compile(r"(?:^|/)\.mcp\.json$"), "claude-code", "project"),
)
_DESKTOP_KEYS = {"globalShortcut", "preferences", "appearance", "isDxtAutoUpdatesEnabled"}
SAYS_WHAT_IT_IS = ("command", "url", "serverUrl", "httpUrl")


@dataclass(frozen=True)
class Whose:
    """`client` is a key of `CLIENTS`; `scope` is system, user, project or extension, or empty when nobody can tell."""

    client: str
    scope: str = ""


@dataclass(frozen=True, repr=False)
class Place:
    """One entry as it stands: `path` leads to it, `project` is the folder it counts for, when the file says one."""

    path: Path
    name: str
    raw: Any
    project: str = ""


def looks_like(document: Any) -> bool:
    """Whether this is a client's configuration, with entries or without."""
    return isinstance(document, Mapping) and any(True for _table in _tables(document))


def whose(document: Mapping[str, Any], file: str) -> Whose:
    """Which client reads this: by its own shape where that is telling, else by the file's usual name."""
    named = file.replace("\\", "/").lower()
    by_file = next((Whose(client, scope) for name, client, scope in _BY_FILE if name.search(named)), None)
    if "mcp_servers" in document:
        return by_file if by_file and by_file.client == "codex" else Whose("codex")
    if isinstance(document.get("experimental"), Mapping):
        return Whose("continue", "user")
    if isinstance(document.get("projects"), Mapping):
        return Whose("claude-code", "user")
    if isinstance(document.get("servers"), Mapping) or isinstance(document.get("inputs"), list) or "mcp" in document:
        return by_file if by_file and by_file.client == "vscode" else Whose("vscode")
    if by_file is not None:
        return by_file
    entries = [place.raw for place in places(document) if isinstance(place.raw, Mapping)]
    if any("serverUrl" in raw for raw in entries):
        return Whose("windsurf", "user")
    if not _DESKTOP_KEYS.isdisjoint(document):
        return Whose("claude-desktop", "user")
    if any(raw.get("type") == "local" or isinstance(raw.get("tools"), list) for raw in entries):
        return Whose("copilot-cli")
    return Whose("other")


def places(document: Mapping[str, Any]) -> Iterator[Place]:
    """Every entry of every table, in the order of the document."""
    for path, table, project in _tables(document):
        if isinstance(table, Mapping):
            for name, raw in table.items():
                yield Place((*path, str(name)), str(name), raw, project)
        else:
            for index, raw in enumerate(table):
                name = raw.get("name") if isinstance(raw, Mapping) else ""
                yield Place((*path, index), name if isinstance(name, str) else "", raw, project)


def asked_for(document: Mapping[str, Any]) -> dict[str, bool]:
    """VS Code's `inputs`: what a person is asked for by id, and whether it is a secret."""
    nested = document.get("mcp")
    holder = nested if isinstance(nested, Mapping) and "inputs" not in document else document
    inputs = holder.get("inputs")
    return {
        each["id"]: each.get("password") is True
        for each in (inputs if isinstance(inputs, list) else ())
        if isinstance(each, Mapping) and isinstance(each.get("id"), str)
    }


def _tables(document: Mapping[str, Any]) -> Iterator[tuple[Path, Any, str]]:
    for key in ("mcpServers", "servers", "mcp_servers"):
        table = document.get(key)
        if isinstance(table, Mapping) or (key == "mcpServers" and isinstance(table, list)):
            yield (key,), table, ""
    nested = document.get("mcp")
    if isinstance(nested, Mapping) and isinstance(nested.get("servers"), Mapping):
        yield ("mcp", "servers"), nested["servers"], ""
    experimental = document.get("experimental")
    if isinstance(experimental, Mapping) and isinstance(experimental.get("modelContextProtocolServers"), list):
        path = ("experimental", "modelContextProtocolServers")
        yield path, experimental["modelContextProtocolServers"], ""
    projects = document.get("projects")
    for folder, project in projects.items() if isinstance(projects, Mapping) else ():
        if isinstance(project, Mapping) and isinstance(project.get("mcpServers"), Mapping):
            yield ("projects", str(folder), "mcpServers"), project["mcpServers"], str(folder)
