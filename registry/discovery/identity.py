"""What a client's configuration points at: the identity others would name as well, or none.

A remote server is its canonical URL without credentials; its query stays, it selects tools and tenants. A local one
is the package behind the wrappers it is started with, in whatever release. A script, a shell line or a program that
only this machine knows has a description and a stable `local:` address, but no identity: `identified` is False.
Nothing here starts, fetches or keeps anything, and no result holds a path of a machine or the value of a secret.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from django.utils.translation import gettext as _

from registry.catalog.services import canonical_uri, canonical_url
from registry.core.secrets import find_secrets, is_stand_in, name_certainty, redact
from registry.discovery.address_secrets import KEY, STAND_IN, is_random, without_private_parts
from registry.discovery.command_lines import Address, Local, Package, origin_of

MAX_URI = 700
_LONGEST = 4096
"""Beyond this an address is none that anybody reaches; the patterns below are not tried on it."""
_REFERENCE = re.compile(r"\$\{(?:\w+:)?(?P<name>[^}:]*)[^}]*\}|\{\{(?P<inner>[^}]*)\}\}")
_LOOPBACK = re.compile(r"localhost|.+\.localhost|127\.[\d.]+|::1|0\.0\.0\.0|host\.docker\.internal", re.IGNORECASE)
_UNSTORABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Identity:
    """`uri` is what a sighting is matched by; `also` are addresses the same server may be catalogued under.

    `via` are the wrappers between the client and the server (`cmd`, `npx`, `mcp-remote`), outermost first.
    """

    uri: str
    label: str
    transport: str = "stdio"
    identified: bool = True
    url: str = ""
    registry: str = ""
    package: str = ""
    version: str = ""
    via: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


def identify_url(
    url: str, *, name: str = "", transport: str = "", secrets: Iterable[str] = (), via: tuple[str, ...] = ()
) -> Identity:
    """The identity of a remote server. `secrets` are values in `url` that only their surroundings give away."""
    cleaned = without_credentials(url, secrets)
    if cleaned is None:
        return _local(name, _("an address that is asked for when it starts"), transport or "streamable-http", via)
    parts = urlsplit(cleaned)
    transport = transport or ("sse" if parts.path.rstrip("/").endswith("/sse") else "streamable-http")
    if _LOOPBACK.fullmatch(parts.hostname or ""):
        return _local(name, cleaned, transport, via)
    if len(cleaned) > MAX_URI or find_secrets(cleaned):
        return _local(name, parts.hostname or "", transport, via)
    return Identity(
        uri=cleaned,
        label=cleaned[:200],
        transport=transport,
        url=cleaned,
        via=via,
        also=tuple({_without_keys(cleaned)} - {cleaned}),
    )


def identify_command(
    command: str, arguments: Sequence[str], *, name: str = "", secrets: Iterable[str] = ()
) -> Identity:
    """The identity of what a command line starts, however it is wrapped."""
    known = tuple(secrets)
    origin, via = origin_of(command, arguments)
    if isinstance(origin, Address):
        return identify_url(origin.url, name=name, transport=origin.transport, secrets=known, via=via)
    if isinstance(origin, Package):
        return identify_package(origin, name=name, secrets=known, via=via)
    return _local(name, _described(origin, known), "stdio", via)


def identify_package(
    package: Package, *, name: str = "", secrets: Iterable[str] = (), via: tuple[str, ...] = ()
) -> Identity:
    """The identity of a package, whichever release of it is used."""
    uri = package_uri(package.registry, without_private_parts(package.name))
    if not package.name or len(uri) > MAX_URI or _unfit(f"{uri} {package.version}", tuple(secrets)):
        return _local(name, via[-1] if via else "", "stdio", via)
    identifier = uri.partition(":")[2]
    return Identity(
        uri=uri,
        label=identifier[:200],
        registry=package.registry[:20],
        package=identifier,
        version=package.version[:255],
        via=via,
    )


def package_uri(registry: str, name: str) -> str:
    """`npm:@scope/name`, without a release; names of one package in several spellings are one."""
    if registry == "pypi":
        name = re.sub(r"[-_.]+", "-", name).lower()
    elif registry == "oci":
        name = re.sub(r"^(?:index\.)?docker\.io/(?:library/)?", "", name)
        name = name.partition("@")[0]
        head, slash, last = name.rpartition("/")
        name = f"{head}{slash}{last.partition(':')[0]}".lower()
    elif registry == "npm" and not name.startswith("http"):
        name = name.lower()
    return canonical_uri({"package_registry": registry, "package_identifier": name})


def without_credentials(url: str, secrets: Iterable[str] = ()) -> str | None:
    """The canonical URL with no user, password, key or token in it; None when no http(s) host is written there."""
    if len(url) > _LONGEST:
        return None
    url = _UNSTORABLE.sub("", url.strip())
    for match in reversed(find_secrets(url)):
        if match.rule != "url-password":
            url = url[: match.start] + KEY + url[match.end :]
    url = without_private_parts(url)
    for value in secrets:
        if len(value) >= 4:
            url = url.replace(value, KEY)
    url = _REFERENCE.sub(_named, url)
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname or "{" in host or " " in host:
            return None
        query = "&".join(pair for pair in parts.query.split("&") if pair and not _is_credential(pair))
        path = "/".join(segment.replace(" ", "%20") for segment in parts.path.split("/"))
        return canonical_url(urlunsplit((parts.scheme, host, path, query, "")))
    except ValueError:
        return None


def _named(reference: "re.Match[str]") -> str:
    """`${input:api_key}` becomes `{key}`, `${TENANT}` becomes `{TENANT}`: what is asked for has no value here."""
    name = (reference["name"] or reference["inner"] or "").strip()
    return KEY if name_certainty(name) or not re.fullmatch(r"\w{1,60}", name) else f"{{{name}}}"


def _is_credential(pair: str) -> bool:
    name, _sign, value = pair.partition("=")
    if KEY in value:
        return True
    return bool(name_certainty(name)) and is_stand_in(unquote(value))


def _without_keys(url: str) -> str:
    parts = urlsplit(url)
    path = "/".join(segment for segment in parts.path.split("/") if not STAND_IN.fullmatch(segment))
    query = "&".join(pair for pair in parts.query.split("&") if not STAND_IN.search(pair))
    return canonical_url(urlunsplit(parts._replace(path=path, query=query)))


def _unfit(text: str, secrets: Sequence[str]) -> bool:
    """Whether what was taken for a name is something else: a secret, or nothing that can be stored."""
    return (
        bool(_UNSTORABLE.search(text) or re.search(r"\s.*\s|[${}]", text) or find_secrets(text))
        or any(len(value) >= 4 and value in text for value in secrets)
    )  # fmt: skip


def _described(origin: Local, secrets: Sequence[str]) -> str:
    """What is started, in words without a directory: `python mcp_server.py`."""
    words = (KEY if is_random(word) else word for word in origin.words if word)
    text = _UNSTORABLE.sub("", " ".join(words))
    for value in secrets:
        if len(value) >= 4:
            text = text.replace(value, KEY)
    return redact(text)[:160]


_BARE = re.compile(
    r"np[mx]|pnp[mx]|yarn|bunx?|deno|node(?:js)?|py|pythonw?3?|uvx?|pipx|poetry|docker|podman|nerdctl|java|dotnet|dnx|go"
    r"|cargo|cmd|bash|z?sh|powershell|pwsh|wsl|env|sudo|make|just|task|ruby|php|perl|mcp-remote|mcp-proxy|supergateway",
    re.IGNORECASE,
)


def _told(name: str, what: str) -> str:
    """`what`, with what the entry is called where it is but a launcher, or hardly a word: "billing (npx)"."""
    called = "" if is_random(name) else " ".join(redact(name).split())
    if called and _BARE.fullmatch(what):
        return f"{called} ({what})"
    return what if re.search(r"\w{2}", what) or not called else called


def _local(name: str, what: str, transport: str, via: tuple[str, ...]) -> Identity:
    """Equal for the same entry copied to another machine, different for everything else one could tell apart."""
    identifying = "\x1f".join((" ".join(name.lower().split()), what, transport))
    value = hashlib.sha256(identifying.encode("utf-8", "replace")).hexdigest()[:32]
    label = _UNSTORABLE.sub("", _told(name, what)) or _("a command")
    return Identity(uri=f"local:{value}", label=label[:200], transport=transport, identified=False, via=via)
