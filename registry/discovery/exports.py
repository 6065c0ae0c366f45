"""Allow and deny lists for managed clients: what is published is allowed, what the registry took out of service is
denied. One builder per format; what a format cannot say exactly is left out, which these clients read as "blocked".

Servers are matched by address or by the exact command line, never by the name a user gave them: that one is anybody's
choice, and a list that Claude Code or Copilot cannot read blocks everything.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from registry.catalog.models import Endpoint, Server, Tool
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.discovery.models import Publication
from registry.discovery.offering import published_now
from registry.discovery.publications import publishable

Words = Any  # str or a lazy translation


@dataclass(frozen=True)
class Approved:
    """A published server as a client's configuration would name it."""

    name: str
    key: str
    endpoints: list[Endpoint]
    tools: list[str]


@dataclass(frozen=True)
class Lists:
    """`base` is where clients find this registry."""

    base: str
    approved: list[Approved]
    denied: list[Endpoint]


# --- What is allowed and denied --------------------------------------------------------------------------


def lists(base: str) -> Lists:
    """Servers whose publication is offered now, and the endpoints of those that were in service and are refused.

    An endpoint that an approved server has as well is not denied: denial wins everywhere, and would block that one.
    Of confidential servers nothing is told either way.
    """
    now = clock.now()
    offered = Exists(Publication.objects.filter(published_now(), server=OuterRef("pk")))
    allowed = Server.objects.filter(publishable(now)).filter(offered).order_by("name")
    names: dict[UUID, str] = dict(allowed.values_list("pk", "name"))
    endpoints: dict[UUID, list[Endpoint]] = defaultdict(list)
    for endpoint in Endpoint.objects.filter(server__in=allowed.order_by(), retired_at=None):
        endpoints[endpoint.server_id].append(endpoint)
    tools: dict[UUID, list[str]] = defaultdict(list)
    approved_tools = Tool.objects.filter(server__in=allowed.order_by(), retired_at=None, approved_digest=F("digest"))
    for server_id, tool in approved_tools.exclude(digest="").order_by("name").values_list("server_id", "name"):
        tools[server_id].append(tool)
    latest = Publication.objects.filter(server__in=allowed.order_by(), is_latest=True)
    keys: dict[UUID, str] = dict(latest.values_list("server_id", "client_key"))
    denied = Endpoint.objects.filter(server__in=Server.objects.filter(refused()).order_by(), retired_at=None)
    mine = {each.canonical_uri for group in endpoints.values() for each in group}
    return Lists(
        base=base,
        approved=[Approved(name, keys[pk], endpoints[pk], tools[pk]) for pk, name in names.items()],
        denied=[each for each in denied.order_by("canonical_uri", "id") if each.canonical_uri not in mine],
    )


def refused() -> Q:
    """Servers that the registry itself took out of service: suspended, quarantined, or retired from service."""
    out = Q(lifecycle=Lifecycle.SUSPENDED) | Q(quarantined_at__isnull=False)
    return (out | Q(lifecycle=Lifecycle.RETIRED, activated_at__isnull=False)) & Q(confidential=False)


# --- Matchers --------------------------------------------------------------------------------------------


def address(endpoint: Endpoint) -> str:
    """The URL as a client would have it; empty for one that has blanks to fill in, or would be read as a pattern."""
    return "" if re.search(r"[{}*]|\$", endpoint.url) else endpoint.url


def _variables(endpoint: Endpoint) -> list[str]:
    """Names of the environment variables it declares."""
    return [each["name"] for each in endpoint.inputs if str(each.get("placed_in", "")).startswith("env")]


def command_lines(endpoint: Endpoint) -> list[list[str]]:
    """The usual command lines of a package, the first of them the one to write; none for an unpinned package."""
    name, version = endpoint.package_identifier, endpoint.package_version
    registry = endpoint.package_registry
    if registry == "oci":
        if not version and ":" not in name.rpartition("/")[2] and "@" not in name:
            return []
        image = f"{name}:{version}" if version and ":" not in name.rpartition("/")[2] and "@" not in name else name
        given = [part for variable in _variables(endpoint) for part in ("-e", variable)]
        plain = ["docker", "run", "-i", "--rm"]
        return [[*plain, *given, image], [*plain, image]] if given else [[*plain, image]]
    if not version or not name:
        return []
    pinned = f"{name}@{version}"
    if registry == "npm":
        return [["npx", "-y", pinned], ["npx", pinned]]
    if registry == "pypi":
        return [["uvx", pinned], ["uvx", f"{name}=={version}"]]
    return [["dnx", pinned, "--yes"], ["dnx", pinned]] if registry == "nuget" else []


def _matchers(endpoints: Iterable[Endpoint]) -> list[dict[str, Any]]:
    """`{"serverUrl"}` and `{"serverCommand"}`, each once."""
    found: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        if endpoint.package_identifier:
            matchers: list[dict[str, Any]] = [{"serverCommand": argv} for argv in command_lines(endpoint)]
        else:
            matchers = [{"serverUrl": address(endpoint)}] if address(endpoint) else []
        for matcher in matchers:
            found[json.dumps(matcher)] = matcher
    return list(found.values())


def _allowed(held: Lists) -> list[dict[str, Any]]:
    return _matchers(endpoint for server in held.approved for endpoint in server.endpoints)


def sayable(endpoints: Iterable[Endpoint]) -> bool:
    """Whether a matcher can name any of them; none names an address with blanks, or a package without a version."""
    return bool(_matchers(endpoints))


# --- Formats ---------------------------------------------------------------------------------------------


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def copilot(held: Lists) -> str:
    return _json({"allowedMcpServers": _allowed(held), "deniedMcpServers": _matchers(held.denied)})


def vs_code(held: Lists) -> str:
    return _json(
        {
            "chat.mcp.access": "registry",
            "chat.mcp.gallery.serviceUrl": held.base,
            "chat.mcp.allowedServers": _allowed(held),
            "chat.mcp.deniedServers": _matchers(held.denied),
        }
    )


def claude_code(held: Lists) -> str:
    return _json(
        {
            "allowManagedMcpServersOnly": True,
            "allowedMcpServers": _allowed(held),
            "deniedMcpServers": _matchers(held.denied),
        }
    )


def managed_mcp(held: Lists) -> str:
    servers = {}
    for server in held.approved:
        if entry := next(filter(None, map(_configured, server.endpoints)), None):
            servers[server.key] = entry
    return _json({"mcpServers": servers})


def _configured(endpoint: Endpoint) -> dict[str, Any] | None:
    """One entry of `mcpServers`. Values that a user has to bring are references to the user's environment."""
    if endpoint.package_identifier:
        if not (lines := command_lines(endpoint)):
            return None
        command, *args = lines[0]
        entry: dict[str, Any] = {"type": "stdio", "command": command, "args": args}
        if variables := _variables(endpoint):
            entry["env"] = {name: f"${{{name}}}" for name in variables}
        return entry
    if not address(endpoint):
        return None
    entry = {"type": "sse" if endpoint.transport == "sse" else "http", "url": endpoint.url}
    # What a user may leave away is left away: a header that refers to nothing would stop the server from loading.
    headers = [each["name"] for each in endpoint.inputs if each.get("placed_in") == "header" and each.get("required")]
    if headers:
        entry["headers"] = {name: f"${{{re.sub(r'[^A-Z0-9]', '_', name.upper())}}}" for name in headers}
    return entry


def codex(held: Lists) -> str:
    """Remote servers only: an identity names a bare command, and `npx` alone would allow every package."""
    lines = [
        "# Remote MCP servers that are approved. A server is known by the name in the table and by its address.",
        "# Started from a package they are left out: here an identity is a command without its arguments.",
    ]
    for server in held.approved:
        urls = [address(each) for each in server.endpoints if not each.package_identifier and address(each)]
        if urls:
            quoted = json.dumps(urls[0], ensure_ascii=False).replace("\x7f", "\\u007F")
            lines += ["", f"[mcp_servers.{server.key}.identity]", f"url = {quoted}"]
    if len(lines) == 2:
        # An empty table allows nothing; no table at all would allow everything.
        lines += ["", "[mcp_servers]"]
    return "\n".join(lines) + "\n"


def gemini(held: Lists) -> str:
    """Remote servers with their approved tools; the console takes no commands."""
    servers = {}
    for server in held.approved:
        found = next((each for each in server.endpoints if not each.package_identifier and address(each)), None)
        if found:
            kind = "sse" if found.transport == "sse" else "http"
            servers[server.key] = {"url": found.url, "type": kind, "trust": False, "includeTools": server.tools}
    return _json({"mcpServers": servers})


@dataclass(frozen=True)
class Export:
    """A file at a stable address. `place` is where it goes, `how` what else there is to do."""

    name: str
    client: Words
    build: Callable[[Lists], str] = field(repr=False)
    place: Words
    how: Words

    @property
    def content_type(self) -> str:
        return "application/toml" if self.name.endswith(".toml") else "application/json"


EXPORTS = {
    export.name: export
    for export in (
        Export(
            "copilot-managed-settings.json",
            "GitHub Copilot",
            copilot,
            _("managed-settings.json of the enterprise, or of the device management"),
            _("Allow and deny lists for every Copilot client. Where several sources apply, all of them must allow."),
        ),
        Export(
            "vscode-settings.json",
            "Visual Studio Code",
            vs_code,
            _("The policies of the device management (ChatMCP, McpGalleryServiceUrl)"),
            _("Shows this registry in the gallery, and lets nothing run that is not in it."),
        ),
        Export(
            "claude-code-managed-settings.json",
            "Claude Code",
            claude_code,
            "/etc/claude-code/managed-settings.json · /Library/Application Support/ClaudeCode/managed-settings.json",
            _("People add servers themselves; what is not on the list does not load."),
        ),
        Export(
            "managed-mcp.json",
            _("Claude Code, fixed set"),
            managed_mcp,
            "/etc/claude-code/managed-mcp.json · /Library/Application Support/ClaudeCode/managed-mcp.json",
            _("Everybody gets exactly these servers. Credentials come from each person's environment."),
        ),
        Export(
            "codex-requirements.toml",
            "Codex",
            codex,
            "/etc/codex/requirements.toml",
            _("Remote servers only; each has to carry the name that stands here."),
        ),
        Export(
            "gemini-mcp-servers.json",
            "Gemini CLI",
            gemini,
            _("MCP Servers in the management console"),
            _("Remote servers, each with the tools whose definitions are approved."),
        ),
    )
}
