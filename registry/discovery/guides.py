"""How each client is wired to this installation, step by step, with the texts to copy."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext_lazy as _

Words = Any  # str or a lazy translation


@dataclass(frozen=True)
class Step:
    """`text(base)` is what is copied; `base` is the address of this installation for clients."""

    title: Words
    words: Words
    text: Callable[[str], str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Guide:
    """`unreachable`: what the client does while this registry does not answer. `check`: how one sees that it works."""

    client: Words
    serves: Words
    exports: tuple[str, ...]
    steps: tuple[Step, ...]
    unreachable: Words
    check: Words


def _fetch(export: str, target: str) -> Callable[[str], str]:
    """A job for the device management: it replaces the file only by a whole new one."""

    def text(base: str) -> str:
        return (
            f'new="$(mktemp)"\n'
            f'curl -fsS --etag-compare {target}.etag --etag-save {target}.etag -o "$new" \\\n'
            f'  "{base}/exports/{export}" && [ -s "$new" ] && install -m 0644 "$new" {target}\n'
            f'rm -f "$new"'
        )

    return text


def _policy(base: str) -> str:
    return json.dumps({"McpGalleryServiceUrl": base, "ChatMCP": "registry"}, indent=2)


REFRESH = Step(
    _("Keep it fresh"),
    _("Run the command above every few minutes on each device, or in the pipeline that fills your device management. "
      "Every address answers with an entity tag; asked with it (If-None-Match, --etag-compare of curl) it says 304 "
      "without a body while nothing changed. Answers may be kept for one minute."),
)  # fmt: skip
_KEEPS = _("The file that was installed last stays in force: nothing new is allowed, and what was withdrawn in the "
           "meantime still is. A failed or empty answer never replaces the file.")  # fmt: skip

GUIDES: dict[str, Guide] = {
    "vscode": Guide(
        "Visual Studio Code, GitHub Copilot",
        _("A gallery with what is approved here, and nothing else starts."),
        ("vscode-settings.json", "copilot-managed-settings.json"),
        (
            Step(
                _("Name this registry"),
                _("In GitHub: enterprise or organisation settings, AI controls, MCP. Enter this address as MCP "
                  "Registry URL and choose “Registry only”. Clients add /v0.1/servers themselves."),
                lambda base: base,
            ),
            Step(
                _("Set the policies of the device management"),
                _("For devices without a GitHub policy. On Windows they stand under "
                  "Software\\Policies\\Microsoft\\VSCode, on macOS in a profile for com.microsoft.VSCode, on Linux in "
                  "/etc/vscode/policy.json."),
                _policy,
            ),
            Step(
                _("Install the allow and deny lists for Copilot"),
                _("As managed-settings.json of the enterprise, or by the device management, for clients that start "
                  "servers from their own files. Where several sources apply, all of them must allow a server."),
                lambda base: f'curl -fsS "{base}/exports/copilot-managed-settings.json" -o managed-settings.json',
            ),
            REFRESH,
        ),
        _("The gallery is empty and tells of an error, and “Registry only” lets nothing new start. The lists on the "
          "device stay as they were installed last."),
        _("Extensions view, @mcp: the servers published here are listed, and one that is not does not start."),
    ),
    "claude-code": Guide(
        "Claude Code",
        _("People add servers themselves; what is not on the list does not load. Or everybody gets a fixed set."),
        ("claude-code-managed-settings.json", "managed-mcp.json"),
        (
            Step(
                _("Install the lists"),
                _("Merge them into other managed settings, if there are any. On macOS the folder is "
                  "/Library/Application Support/ClaudeCode."),
                _fetch("claude-code-managed-settings.json", "/etc/claude-code/managed-settings.json"),
            ),
            Step(
                _("Or install a fixed set"),
                _("With this file people cannot add servers. Credentials come from each person's environment; set the "
                  "variables that it names before Claude Code starts."),
                _fetch("managed-mcp.json", "/etc/claude-code/managed-mcp.json"),
            ),
            REFRESH,
        ),
        _KEEPS,
        _("Start it anew and enter /mcp: servers that are not allowed are not among them."),
    ),
    "codex": Guide(
        "Codex",
        _("Remote servers only; each has to carry the name that stands in the file. A name once given stays."),
        ("codex-requirements.toml",),
        (
            Step(
                _("Install the requirements"),
                _("The file belongs to root. Servers started from a package are left out, for Codex would know them by "
                  "the bare command alone."),
                _fetch("codex-requirements.toml", "/etc/codex/requirements.toml"),
            ),
            Step(
                _("Name servers as the file does"),
                _("In each person's config.toml, with the name and the address of the file:"),
                lambda base: '[mcp_servers.NAME]\nurl = "ADDRESS"',
            ),
            REFRESH,
        ),
        _KEEPS,
        _("Run “codex mcp list”: a server under another name or address is switched off."),
    ),
    "gemini": Guide(
        "Gemini CLI",
        _("Remote servers with the tools whose definitions are approved."),
        ("gemini-mcp-servers.json",),
        (
            Step(
                _("Fetch the list"),
                _("Signed in with a token where this registry is not open."),
                lambda base: f'curl -fsS "{base}/exports/gemini-mcp-servers.json"',
            ),
            Step(
                _("Paste it into the management console"),
                _("Gemini CLI settings, MCP Servers. It replaces what stands there; clients take it up at their next "
                  "start."),
            ),
            Step(
                _("Keep it fresh"),
                _("The console does not fetch by itself. Watch the address with If-None-Match; an answer other than "
                  "304 is a new list to paste."),
            ),
        ),
        _("Clients go by the list in the console and never ask this registry."),
        _("Enter /mcp list: only servers of the list are there, each with the approved tools."),
    ),
}  # fmt: skip
