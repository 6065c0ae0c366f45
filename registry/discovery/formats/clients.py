"""Readers of clients' configurations: Claude Desktop and Code, VS Code, Cursor, Windsurf, Codex, Continue, Copilot CLI.

Values of secrets live in this module's local variables only. Whatever leaves it went through `blanked`, and no
exception names a text of the document.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _

from registry.catalog.services import InputFacts
from registry.core.errors import Malformed
from registry.core.secrets import REDACTED, find_secrets, name_certainty, redact, refuse_secrets
from registry.discovery.address_secrets import is_random
from registry.discovery.command_lines import Package
from registry.discovery.entries import Configured, Refusal
from registry.discovery.formats.bounds import check_secrets, check_texts, check_toml
from registry.discovery.formats.client_secrets import (
    Inline,
    blanked,
    document_secrets,
    inline_secrets,
    pointer,
    present,
    repeated,
    secret_name,
)
from registry.discovery.formats.client_secrets import storable as kept_text
from registry.discovery.formats.client_shapes import (
    CLIENTS,
    SAYS_WHAT_IT_IS,
    Place,
    Whose,
    asked_for,
    looks_like,
    places,
    whose,
)
from registry.discovery.formats.json_text import load_relaxed, repeated_keys
from registry.discovery.formats.reading import TRANSPORTS, declared_input, merged, storable
from registry.discovery.identity import Identity, identify_command, identify_package, identify_url

MAX_SERVERS = 1000
UNDERSTOOD = "Claude Desktop, Claude Code, VS Code, Cursor, Windsurf, Codex, Continue, Copilot CLI"
_MOST = 100
_LONGEST = 4096
_ENV_HOLDERS = ("env", "environment")
_HEADER_HOLDERS = ("headers", "http_headers")
_REFERENCE = re.compile(
    r"\$\{(?P<kind>input|env|command|config):(?P<name>[\w.:-]{1,100})\}|\$\{(?P<plain>[A-Za-z_]\w{0,99})(?::-[^}]{0,500})?\}"
    r"|^\$(?P<bare>[A-Za-z_]\w{0,99})$|^%(?P<windows>\w{1,100})%$"
)
_FROM_EDITOR = re.compile(r"workspaceFolder|userHome|file|pathSeparator|cwd|HOME|PATH|PWD|USER")
_KINDS = {"input": "prompted", "env": "environment", "command": "other", "config": "other"}


# --- From text to a document -----------------------------------------------------------------------------
def parse_configuration(text: str) -> Any:
    """JSON with comments and trailing commas, or TOML. None for what is neither; raises `Beyond`."""
    try:
        return load_relaxed(text)
    except (ValueError, RecursionError):
        pass
    if text.lstrip().startswith("{"):
        return None
    check_toml(text)
    try:
        return json.loads(json.dumps(tomllib.loads(text), default=str))
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        return None


def read_configuration(
    document: Mapping[str, Any], *, file: str = "", client: str = "", place: str = "", scope: str = ""
) -> list[Configured | Refusal]:
    """Every entry of a client's configuration, in order.

    `client` (a key of `CLIENTS`), `place` and `scope` are what the caller knows; what is missing is told by the shape
    and by `file`. Raises `Malformed` for a document without entries, `Beyond` for too large a one, `SecretRefused` for
    a place that holds one.
    """
    refuse_secrets({"place": place})
    check_texts(document)
    owner = whose(document, file)
    owner = Whose(client or owner.client, scope or owner.scope)
    found = list(places(document))
    if not found:
        said = _("This is a configuration of %(client)s without any server.")
        raise Malformed(said % {"client": CLIENTS.get(owner.client, owner.client)})
    where = ": ".join(filter(None, (place, file)))
    read = _read(found, owner, where, asked_for(document), document_secrets(document))
    return [*read, *_overridden(document)]


def read_reported(
    sightings: Sequence[Mapping[str, Any]], *, client: str, place: str, scope: str = ""
) -> list[Configured | Refusal]:
    """Normalised sightings of a gateway or a fleet tool: `entry` with a `url`, a `package` or a `command`."""
    refuse_secrets({"place": place})
    found = [Place(("sightings", index), str(each["entry"]), each) for index, each in enumerate(sightings)]
    return _read(found, Whose(client, scope), place, {})


def _overridden(document: Mapping[str, Any]) -> list[Refusal]:
    """Every client reads the last of equal keys; whoever wrote the earlier may not know."""
    said = _("stands here more than once. Only the last is read; look for secrets in the earlier, and remove them")
    paths = list(islice(repeated_keys(document), _MOST))
    return [Refusal("", {pointer(path): [said]}) for path in paths]


def _read(
    found: Sequence[Place],
    owner: Whose,
    where: str,
    inputs: Mapping[str, bool],
    besides: Sequence[tuple[str, Inline]] = (),
) -> list[Configured | Refusal]:
    if len(found) > MAX_SERVERS:
        raise Malformed(_("A configuration of more than %(n)d servers is not read; split it.") % {"n": MAX_SERVERS})
    own = {
        each.path: [*secret_name(each.path, each.name), *inline_secrets(each.raw, each.path)]
        for each in found
        if isinstance(each.raw, Mapping)
    }
    texts = {each.path: str(each.raw) for each in found if each.path in own} if besides else {}
    for asked, secret in besides[:_MOST]:
        # A finding of the whole document stands with the entries that use it, else with the first.
        users = [path for path, text in texts.items() if asked and f"${{input:{asked}}}" in text]
        for path in users or list(own)[:1]:
            own[path].append(secret)
    known = {secret.value: secret for secrets in own.values() for secret in secrets}
    check_secrets(len(known))
    read: list[Configured | Refusal] = []
    for each in found:
        mine, here = own.get(each.path, []), present(each.path, each.raw, known)
        again = list(repeated(each.path, each.raw, mine, here))
        read.append(_Entry(each, [*mine, *again], here, inputs).read(owner, where))
    return read


def unknown_shape(document: Any) -> str:
    """Why this is no configuration, for whoever handed it in."""
    said = _("This is no client's configuration that is understood here (%(clients)s).") % {"clients": UNDERSTOOD}
    if not isinstance(document, Mapping) or not document:
        return said
    keys = ", ".join(redact(str(key))[:40] for key in list(document)[:6])
    where = _("It has %(keys)s; servers are looked for under mcpServers, servers and mcp_servers.") % {"keys": keys}
    return f"{said} {where}"


# --- One entry -------------------------------------------------------------------------------------------
def _is_secret(text: str) -> bool:
    return bool(find_secrets(text)) or is_random(text)


class _Entry:
    """One entry being read. No method but `read` gives anything away, and `repr` names only the place."""

    def __init__(
        self, place: Place, mine: Sequence[Inline], known: Sequence[Inline], inputs: Mapping[str, bool]
    ) -> None:
        self.place = place
        self.raw: Mapping[str, Any] = place.raw if isinstance(place.raw, Mapping) else {}
        self.secrets, self.known, self.asked = mine, known, inputs
        # Continue keeps the way to start it one level down.
        nested = self.raw.get("transport")
        self.launch: Mapping[str, Any] = nested if isinstance(nested, Mapping) else self.raw

    def __repr__(self) -> str:
        return "_Entry()"

    def read(self, owner: Whose, where: str) -> Configured | Refusal:
        name = self._fit(self.place.name)
        if problem := self._problem():
            return Refusal(name, {self._fit(".".join(map(str, self.place.path))): [problem]})
        identity = self._identity()
        project = self.place.project
        return Configured(
            client=kept_text(owner.client),
            place=self._fit(f"{where}: {project}" if project else where, 400),
            scope="project" if project else owner.scope,
            entry=name or identity.label,
            canonical_uri=identity.uri,
            label=self._fit(identity.label),
            identified=identity.identified,
            facts=blanked(kept_text(self._facts(identity)), self.known),
            secrets=[each.told(self.known) for each in self.secrets],
        )

    def _fit(self, text: str, most: int = 200) -> str:
        """A text of the document as it may be kept."""
        text = "".join(character for character in text if character.isprintable() or character == " ")
        return str(blanked(text.encode("utf-8", "ignore").decode(), self.known)).strip()[:most]

    def _problem(self) -> str:
        if not isinstance(self.place.raw, Mapping):
            return _("must be an object")
        command, url = self._command(), self._url()
        if not command and not url and not self._package():
            if present := [key for key in (*SAYS_WHAT_IT_IS, "args") if self.launch.get(key)]:
                return _("has a %(key)s that is not a text") % {"key": present[0]}
            keys = ", ".join(self._fit(str(key), 40) for key in list(self.launch)[:5]) or _("nothing")
            said = _("has neither a command nor an address, so no client can start it; it has %(keys)s")
            return said % {"keys": keys}
        arguments = self.launch.get("args")
        if arguments is not None and not isinstance(arguments, list):
            return _("has args that are not a list")
        return ""

    def _command(self) -> str:
        value = self.launch.get("command")
        return value.strip() if isinstance(value, str) else ""

    def _url(self) -> str:
        value = next((self.launch[key] for key in ("url", "serverUrl", "httpUrl") if self.launch.get(key)), "")
        return value.strip() if isinstance(value, str) else ""

    def _package(self) -> Mapping[str, Any]:
        """The package a gateway names; clients' own configurations name none."""
        package = self.launch.get("package")
        named = isinstance(package, Mapping) and package.get("registry") and package.get("identifier")
        return package if named and isinstance(package, Mapping) else {}

    def _arguments(self) -> list[str]:
        arguments = self.launch.get("args")
        return [str(each) for each in (arguments or ()) if isinstance(each, str | int | float)]

    def _identity(self) -> Identity:
        secrets = [each.value for each in self.known]
        said = str(self.launch.get("type") or self.launch.get("transport") or "").lower()
        command, url = self._command(), self._url()
        if not command and not url:
            told = self._package()
            package = Package(str(told["registry"]), str(told["identifier"]), str(told.get("version") or ""))
            return identify_package(package, name=self.place.name, secrets=secrets)
        if command and (not url or said in ("stdio", "local")):
            return identify_command(command, self._arguments(), name=self.place.name, secrets=secrets)
        transport = TRANSPORTS.get(said, "") if said not in ("stdio", "local") else ""
        return identify_url(url, name=self.place.name, transport=transport, secrets=secrets)

    def _facts(self, identity: Identity) -> dict[str, Any]:
        package = {"registry": identity.registry, "identifier": identity.package, "version": identity.version}
        references = list(self._references())
        return {
            "transport": identity.transport,
            "url": identity.url,
            "package": package if identity.package else None,
            "via": list(identity.via),
            "also": list(identity.also),
            "inputs": merged(self._declared(references))[:_MOST],
            "references": references[:_MOST],
            "enabled": self.raw.get("enabled") is not False and self.raw.get("disabled") is not True,
            "tools": {
                "only": self._names("enabled_tools", "includeTools", "tools"),
                "without": self._names("disabled_tools", "disabledTools", "excludeTools"),
                "without_asking": self._names("alwaysAllow", "autoApprove", "autoAllow"),
            },
        }

    def _names(self, *keys: str) -> list[str]:
        value: list[Any] = next((self.raw[key] for key in keys if isinstance(self.raw.get(key), list)), [])
        named = (each for each in value if isinstance(each, str) and storable(each) and not _is_secret(each))
        return [each[:128] for each in named if each != "*"][:_MOST]

    # --- What it is given ------------------------------------------------------------------------------
    def _given(self) -> Iterator[tuple[str, str, str]]:
        """Name, kind of place and value of everything that is handed to the server."""
        for holders, placed_in in ((_ENV_HOLDERS, "environment"), (_HEADER_HOLDERS, "header")):
            for key in holders:
                table = self.launch.get(key)
                for name, value in table.items() if isinstance(table, Mapping) else ():
                    yield str(name), placed_in, value if isinstance(value, str) else ""
        arguments = self._arguments()
        for before, text in zip(["", *arguments], arguments, strict=False):
            if before in ("-e", "--env"):
                name, _sign, value = text.partition("=")
                yield name, "environment", value
            elif before in ("--header", "-H"):
                name, _sign, value = text.partition(":")
                yield name.strip(), "header", value.strip()
            elif text.startswith("--") and "=" in text:
                name, _sign, value = text.partition("=")
                yield name, "argument", value
            elif re.fullmatch(r"--[A-Za-z][\w-]*", before) and not text.startswith("-"):
                yield before, "argument", text
        yield "url", "url", self._url()

    def _references(self) -> Iterator[dict[str, Any]]:
        """Where values come from instead of standing here."""
        for name, placed_in, value in self._given():
            for found in _REFERENCE.finditer(value[:_LONGEST]):
                kind = _KINDS.get(found["kind"] or "env", "other")
                target = found["name"] or found["plain"] or found["bare"] or found["windows"] or ""
                if not _FROM_EDITOR.fullmatch(target):
                    yield self._reference(name, placed_in, kind, target)
        header = self.launch.get("bearer_token_env_var")
        if isinstance(header, str) and header:
            yield self._reference("Authorization", "header", "environment", header)
        table = self.launch.get("env_http_headers")
        for name, variable in table.items() if isinstance(table, Mapping) else ():
            if isinstance(variable, str):
                yield self._reference(str(name), "header", "environment", variable)
        passed = self.launch.get("env_vars")
        for each in passed if isinstance(passed, list) else ():
            variable = each.get("name") if isinstance(each, Mapping) else each
            if isinstance(variable, str):
                yield self._reference(variable, "environment", "environment", variable)
        if isinstance(file := self.launch.get("envFile"), str) and file:
            yield self._reference("envFile", "environment", "file", re.split(r"[\\/]", file)[-1])

    def _reference(self, name: str, placed_in: str, kind: str, target: str) -> dict[str, Any]:
        target = REDACTED if _is_secret(target) else target  # A key in braces is no variable's name.
        reference = f"input:{target}" if kind == "prompted" else target
        secret = name_certainty(name.lstrip("-")) == "certain" or name_certainty(target) == "certain"
        secret = secret or name.lower() == "authorization" or (kind == "prompted" and self.asked.get(target, False))
        return {
            "name": name.lstrip("-")[:120], "placed_in": placed_in, "kind": kind,
            "reference": reference[:200], "secret": secret,
        }  # fmt: skip

    def _declared(self, references: Sequence[Mapping[str, Any]]) -> Iterator[InputFacts]:
        """What it is given by name; required, as otherwise nobody would have set it."""
        secret = {(each["placed_in"], each["name"]) for each in references if each["secret"]}
        inline = [each.value for each in self.secrets]
        for name, placed_in, value in self._given():
            name = name.lstrip("-")
            if placed_in == "argument" and not name_certainty(name):
                continue  # Options of a command are no declaration; only those that take a credential matter here.
            if placed_in != "url":
                held = (placed_in, name) in secret or any(each in value for each in inline)
                yield declared_input(name, placed_in, required=True, secret=held)
        for each in references:
            if each["placed_in"] != "url":
                yield declared_input(each["name"], each["placed_in"], required=True, secret=each["secret"])


__all__ = ["CLIENTS", "looks_like", "parse_configuration", "read_configuration", "read_reported", "unknown_shape"]
