"""What every public client configuration in the shared data is expected to be read as."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "client-configs"

EXPECTED: dict[str, list[tuple[str, str]]] = {
    "01-vscode-docker-trailing-comma.jsonc": [("terraform-mcp", "oci:hashicorp/terraform-mcp-server")],
    "02-claude-desktop-placeholders.json": [
        ("brave-search", "npm:@modelcontextprotocol/server-brave-search"),
        ("filesystem", "npm:@modelcontextprotocol/server-filesystem"),
        ("github", "npm:@modelcontextprotocol/server-github"),
        ("gdrive", "npm:@modelcontextprotocol/server-gdrive"),
        ("google-workspace-mcp", "oci:ghcr.io/aaronsb/google-workspace-mcp"),
    ],
    "03-claude-desktop-cmd-c-npx-key-in-args.json": [
        ("toolbox", "smithery:@smithery/toolbox"),
        ("context7", "npm:@upstash/context7-mcp"),
        ("server-sequential-thinking", "smithery:@smithery-ai/server-sequential-thinking"),
        ("code-mcp", "smithery:@block/code-mcp"),
        ("notion-api-mcp", "smithery:notion-api-mcp"),
        ("Windows-Command-Line-MCP-Server", "smithery:@alxspiker/Windows-Command-Line-MCP-Server"),
    ],
    "04-claude-desktop-wsl-bash-c.json": [
        ("LeaveManagement", "local python mcp_server.py"),
        ("wsl-devops-management", "local python3 devops_server.py"),
    ],
    "05-claude-desktop-preferences.json": [("filesystem", "npm:@modelcontextprotocol/server-filesystem")],
    "06-cursor-token-in-args.json": [("supabase", "npm:@supabase/mcp-server-supabase")],
    "07-cursor-mixed-indent.json": [("eslint", "npm:@eslint/mcp"), ("context7", "npm:@upstash/context7-mcp")],
    "08-vscode-npm-run-cwd.json": [("vscode-playwright-mcp", "local npm run start-stdio")],
    "09-mcpjson-http-basic-input.json": [("jenkins", "http://jenkins:8080/mcp-server/stateless")],
    "10-mcpjson-env-expansion.json": [
        ("github", "npm:@modelcontextprotocol/server-github"),
        ("playwright", "npm:@playwright/mcp"),
        ("filesystem", "npm:@modelcontextprotocol/server-filesystem"),
    ],
    "11-vscode-servers-and-mcpServers.json": [
        ("context7", "npm:@upstash/context7-mcp"),
        ("exa", "npm:exa-mcp-server"),
        ("docker", "npm:docker-mcp"),
        ("open-aware", "https://open-aware.qodo.ai/mcp"),
        ("github", "https://api.githubcopilot.com/mcp"),
        ("supabase", "https://mcp.supabase.com/mcp"),
        ("playwright", "npm:@playwright/mcp"),
        ("sequentialthinking", "oci:danielapatin/sequentialthinking"),
        ("gis-mcp", "pypi:gis-mcp"),
        ("carto", "local an address that is asked for when it starts"),
        ("Sentry", "https://mcp.sentry.dev/mcp/example-org/example-project"),
    ],
    "12-claude-desktop-guessed-package.json": [
        ("n3-empire-governance", "local node mcp-governance-server.js"),
        ("n3-empire-filesystem", "npm:@anthropic-ai/mcp-filesystem-server"),
    ],
    "13-cursor-session-paths.json": [("qtwx-mcp-1", "local node index.mjs")],
    "14-mcpjson-link-not-url.json": [("supabase", "refused"), ("github", "https://api.githubcopilot.com/mcp")],
    "15-vscode-npx-subcommands.json": [("m365agentstoolkit", "npm:@microsoft/m365agentstoolkit-mcp")],
    "16-cursor-pnpx-and-query-tools.json": [
        ("mastra", "local tsx stdio.ts"),
        (
            "exa",
            "https://mcp.exa.ai/mcp?tools=web_search_exa,get_code_context_exa,crawling_exa,company_research_exa,"
            "linkedin_search_exa,deep_researcher_start,deep_researcher_check",
        ),
    ],
    "17-mcpjson-descriptions-local-venvs.json": [
        ("athena-knowledge-base", "local python3 vex_kb_server.py"),
        ("kali_internal", "local python mcp_server.py"),
        ("playwright", "npm:@playwright/mcp"),
    ],
    "18-vscode-npx-url-package.json": [("Dev Box MCP", "npm:https://aka.ms/devbox/mcp/preview")],
    "19-claude-desktop-path-in-env.json": [("context7", "npm:@upstash/context7-mcp")],
    "20-vscode-node-import-cwd.json": [("flowtime-mcp", "local node index.ts")],
    "21-claude-desktop-uvicorn.json": [("nexus-core", "local python -m uvicorn")],
    "22-mcpjson-remote-project-ref.json": [
        ("supabase", "https://mcp.supabase.com/mcp?project_ref=examplefakeprojectref")
    ],
    "23-claude-desktop-native-binary.json": [("surreal-mind", "local surreal-mind")],
    "24-cursor-variables.json": [("agent-bridge", "local agent-bridge-mcp")],
    "25-claude-desktop-postgres-url-in-args.json": [
        ("filesystem", "npm:@modelcontextprotocol/server-filesystem"),
        ("db-one", "npm:@modelcontextprotocol/server-postgres"),
        ("atomic-research", "local python -m atomic_research_mcp.server"),
        ("google-search", "local google-search-wrapper.bat"),
        ("github", "local github-mcp.bat"),
        ("db-two", "npm:@modelcontextprotocol/server-postgres"),
    ],
    "26-registry-proposal-mcp.json": [("figma-tools", "local figma-mcp-tools")],
    "31-vscode-template-comments.jsonc": [("fetch", "pypi:mcp-server-fetch")],
    "32-vscode-comments-and-trailing-comma.jsonc": [("uni-app-x", "npm:uni-app-x-mcp")],
    "33-vscode-inputs-with-mcpServers.jsonc": [("MCP_DOCKER", "local docker mcp gateway")],
    "34-mcp-remote-header-env.json": [("labelito", "https://your-host.example/mcp")],
    "35-mcp-remote-key-in-path.json": [("hookpost", "https://hookpost.example/api/mcp/{key}")],
    "36-mcp-remote-password-env.json": [("mavengang", "https://your-app.example/mcp")],
    "37-codex-config.toml": [("digestseo", "https://worker-host.example/mcp")],
    "38-continue-config.json": [("@xultrax-web/agent-memory-mcp", "npm:@xultrax-web/agent-memory-mcp")],
}
"""Per file, in order: what the client calls each entry, and its identity; "local …" is only described."""

CLIENTS = {
    "vscode": "vscode",
    "claude_desktop_config.json": "claude-desktop",
    "cursor": "cursor",
    "claude": "claude-code",
    "codex": "codex",
    "continue": "continue",
    "mcp.json": "other",
}
"""The first word of the manifest's `client`, as the registry calls it."""


def manifest() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text())
    return listed


def text_of(file: str) -> str:
    return (FOLDER / file).read_text()


def usual_name(listed: dict[str, Any]) -> str:
    """What the file is called on a machine of its user."""
    words: list[str] = listed["client"].split(" in ")[0].split()
    return words[-1]


def planted_values(listed: dict[str, Any]) -> list[str]:
    """The secrets themselves, for looking where they must not be; of a text around one, the part that is it."""
    if not listed["planted_fake_secrets"]:
        return []
    document = json.loads(text_of(listed["file"]))
    values = []
    for pointer in listed["planted_fake_secrets"]:
        found: Any = document
        for part in pointer.strip("/").split("/"):
            found = found[int(part)] if isinstance(found, list) else found[part]
        if "://" in found:
            found = found.partition("://")[2].rpartition("@")[0].partition(":")[2] or found.rpartition("/")[2]
        values.append(found.removeprefix("Bearer "))
    return values
