"""What can be told of a server's guard without a credential: transport, challenge, metadata, an invented token."""

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from registry.catalog.services import canonical_url
from registry.core import clock
from registry.core.outbound import Answer, Door, LeavesOrigin, Limits, OutboundError, kind_behind
from registry.discovery.models import Snapshot
from registry.discovery.probing.conversation import Conversation, Reply
from registry.discovery.probing.eras import Ended
from registry.discovery.probing.steps import Say
from registry.discovery.seen import Seen

CHECKS = {
    "https": gettext_lazy("Encrypted"),
    "certificate": gettext_lazy("Certificate"),
    "redirect": gettext_lazy("Stays at its address"),
    "points_inside": gettext_lazy("Points nowhere inside"),
    "transport": gettext_lazy("Current transport"),
    "asks_for_token": gettext_lazy("Asks for a token"),
    "challenge": gettext_lazy("Says where tokens come from"),
    "resource_metadata": gettext_lazy("Protected resource metadata (RFC 9728)"),
    "resource": gettext_lazy("Names itself as it is called"),
    "bearer_methods": gettext_lazy("Takes tokens in the header only"),
    "scopes": gettext_lazy("Asks for no standing access"),
    "authorization_server": gettext_lazy("Authorization server metadata"),
    "issuer": gettext_lazy("Issuer is who it says"),
    "pkce": gettext_lazy("Requires PKCE with S256"),
    "bogus_token": gettext_lazy("Refuses an invented token"),
}
"""What each check is called, in the order they are shown."""

CERTIFICATE_WARNING_DAYS = 21
MAX_AUTHORIZATION_SERVERS = 3
_DOCUMENT = Limits(connect=5, read=5, total=8, size=200_000)
_PARAMETER = re.compile(r'\bresource_metadata\s*=\s*(?:"([^"]*)"|([^\s,"]+))', re.IGNORECASE)

Check = Mapping[str, str]


class _Checks:
    """Results as they are found, told to whoever follows."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.pointed_inside: set[str] = set()
        self.found: list[Check] = []

    def note(self, check: str, outcome: str, detail: str) -> None:
        self.found.append({"check": check, "outcome": outcome, "detail": detail[:500]})
        if outcome in ("pass", "warn", "fail"):
            self._say(f"{CHECKS[check]}: {detail}", outcome)  # type: ignore[arg-type]

    def points_inside(self, url: str, *, from_inside: bool) -> bool:
        """Note when a server sends its clients to an address inside their network. One that is inside itself may, but
        never to metadata of the cloud."""
        kind = kind_behind(url)
        if not kind or (from_inside and kind not in ("cloud metadata", "link-local")):
            return False
        if url not in self.pointed_inside:
            self.pointed_inside.add(url)
            words = {"host": _hosts([url])[0], "kind": _(kind)}
            self.note("points_inside", "fail", _("It sends clients to %(host)s, a %(kind)s address.") % words)
        return True


def examine(
    door: Door, url: str, conversation: Conversation, seen: Seen, ended: Ended | OutboundError | None, say: Say
) -> Sequence[Check]:
    """The checks that apply, each `{"check", "outcome": "pass|warn|fail|unknown", "detail"}`. Never raises."""
    checks = _Checks(say)
    _transport(checks, url, conversation, seen)
    if isinstance(ended, LeavesOrigin):
        where = urlsplit(ended.location).hostname or "?"
        checks.note("redirect", "fail", _("It redirects to %(host)s, another origin.") % {"host": where})
        checks.points_inside(ended.location, from_inside=bool(kind_behind(url)))
        return checks.found
    checks.note("redirect", "pass", _("No redirect to another origin."))
    if seen.outcome == Snapshot.Outcome.LISTED:
        checks.note("asks_for_token", "warn", _("It lists its tools to anybody who can reach it."))
    if seen.outcome == Snapshot.Outcome.PROTECTED and isinstance(ended, Ended) and ended.reply is not None:
        _guard(checks, door, url, conversation, ended.reply)
    return checks.found


def _transport(checks: _Checks, url: str, conversation: Conversation, seen: Seen) -> None:
    if urlsplit(url).scheme == "https":
        checks.note("https", "pass", _("Asked over https with a valid certificate."))
    else:
        checks.note("https", "fail", _("It is asked over plain http: everybody on the way reads along."))
    if conversation.certificate_ends is not None:
        days = (conversation.certificate_ends - clock.now()).days
        outcome = "pass" if days > CERTIFICATE_WARNING_DAYS else "warn"
        checks.note("certificate", outcome, _("It is valid for %(days)d more days.") % {"days": days})
    if seen.transport == "sse":
        checks.note("transport", "fail", _("It speaks only HTTP with SSE, deprecated since 2025."))
    elif seen.transport:
        checks.note("transport", "pass", _("It speaks streamable HTTP."))


# --- Authorization ---------------------------------------------------------------------------------------


def _guard(checks: _Checks, door: Door, url: str, conversation: Conversation, reply: Reply) -> None:
    if reply.status == HTTPStatus.UNAUTHORIZED:
        checks.note("asks_for_token", "pass", _("A bare request is answered with 401."))
    else:
        checks.note("asks_for_token", "warn", _("A bare request is answered with 403; clients expect 401."))
    challenge = reply.headers.get("www-authenticate", "")
    named = _PARAMETER.search(challenge)
    pointed = (named.group(1) or named.group(2)) if named else ""
    if "bearer" not in challenge.lower():
        checks.note("challenge", "fail", _("There is no Bearer challenge, so clients do not know what to send."))
    elif pointed:
        checks.note("challenge", "pass", _("Its challenge names the metadata document."))
    else:
        checks.note("challenge", "warn", _("Its challenge does not name the metadata document."))
    document = _resource_metadata(checks, door, url, pointed)
    if document is not None:
        _resource(checks, url, document)
        for issuer in _strings(document.get("authorization_servers"))[:MAX_AUTHORIZATION_SERVERS]:
            if not checks.points_inside(issuer, from_inside=bool(kind_behind(url))):
                _authorization_server(checks, door, issuer)
    if not checks.pointed_inside:
        checks.note("points_inside", "pass", _("It sends clients to no address they should not ask."))
    _bogus_token(checks, conversation)


def _resource_metadata(checks: _Checks, door: Door, url: str, pointed: str) -> Mapping[str, Any] | None:
    parts = urlsplit(url)
    well_known = "/.well-known/oauth-protected-resource"
    places = [pointed] if pointed else []
    if parts.path.rstrip("/"):
        places.append(urlunsplit((parts.scheme, parts.netloc, well_known + parts.path.rstrip("/"), "", "")))
    places.append(urlunsplit((parts.scheme, parts.netloc, well_known, "", "")))
    if pointed:
        checks.points_inside(pointed, from_inside=bool(kind_behind(url)))
    for place in dict.fromkeys(places):
        document = _document(door, place)
        if document is None:
            continue
        if not _strings(document.get("authorization_servers")):
            checks.note("resource_metadata", "fail", _("The document names no authorization server."))
        elif place == pointed or not pointed:
            checks.note("resource_metadata", "pass", _recorded(document))
        else:
            checks.note(
                "resource_metadata", "warn", _("It is not where the challenge says, but at a well-known place.")
            )
        return document
    checks.note("resource_metadata", "fail", _("There is no such document at any of the places it may be."))
    return None


def _recorded(document: Mapping[str, Any]) -> str:
    """What is worth keeping of the document, as a sentence."""
    kept = [_("authorization servers: %(names)s") % {"names": ", ".join(_hosts(document["authorization_servers"]))}]
    if scopes := _strings(document.get("scopes_supported")):
        kept.append(_("scopes: %(names)s") % {"names": ", ".join(scopes[:20])})
    kept += [
        str(said)
        for name, said in (
            ("dpop_bound_access_tokens_required", _("tokens bound by DPoP")),
            ("tls_client_certificate_bound_access_tokens", _("tokens bound to client certificates")),
            ("signed_metadata", _("signed")),
        )
        if document.get(name)
    ]
    return "; ".join(kept)


def _resource(checks: _Checks, url: str, document: Mapping[str, Any]) -> None:
    resource = document.get("resource")
    wanted = canonical_url(url)
    if not isinstance(resource, str) or not resource:
        checks.note("resource", "fail", _("The document does not say which resource it is about."))
    elif resource in (wanted, url):
        checks.note("resource", "pass", _("The resource is its canonical address."))
    elif canonical_url(resource) == wanted:
        checks.note("resource", "warn", _("The resource is its address, but not written in canonical form."))
    elif wanted.startswith(canonical_url(resource) + "/"):
        checks.note(
            "resource", "warn", _("The resource is all of the host: tokens are good for its other servers too.")
        )
    else:
        checks.note("resource", "fail", _("The resource is another address; clients must not use this document."))
    methods = _strings(document.get("bearer_methods_supported"))
    if "query" in methods:
        checks.note("bearer_methods", "fail", _("It takes tokens in the address, where logs keep them."))
    elif "body" in methods:
        checks.note("bearer_methods", "warn", _("It takes tokens in the body as well."))
    else:
        checks.note("bearer_methods", "pass", _("Tokens go into the header."))
    if "offline_access" in _strings(document.get("scopes_supported")):
        checks.note("scopes", "warn", _("It lists offline_access, which is between client and authorization server."))
    else:
        checks.note("scopes", "pass", _("It does not list offline_access."))


def _authorization_server(checks: _Checks, door: Door, issuer: str) -> None:
    host = _hosts([issuer])[0]
    found = next(
        (document for place in _metadata_places(issuer) if (document := _document(door, place)) is not None), None
    )
    if found is None:
        checks.note("authorization_server", "fail", _("%(host)s shows no metadata.") % {"host": host})
        return
    notes = []
    if found.get("revocation_endpoint"):
        notes.append(_("tokens can be revoked"))
    if found.get("introspection_endpoint"):
        notes.append(_("tokens can be introspected"))
    if "urn:ietf:params:oauth:grant-type:token-exchange" in _strings(found.get("grant_types_supported")):
        notes.append(_("tokens can be exchanged"))
    if found.get("registration_endpoint"):
        notes.append(_("clients can register themselves, which is deprecated"))
    said = "; ".join([_("%(host)s shows its metadata") % {"host": host}, *notes])
    checks.note("authorization_server", "pass", said + ".")
    if found.get("issuer") == issuer:
        checks.note("issuer", "pass", _("%(host)s names itself as the resource names it.") % {"host": host})
    else:
        checks.note("issuer", "fail", _("%(host)s names another issuer; mix-up attacks live on that.") % {"host": host})
    if "S256" in _strings(found.get("code_challenge_methods_supported")):
        checks.note("pkce", "pass", _("%(host)s supports S256.") % {"host": host})
    else:
        checks.note("pkce", "fail", _("%(host)s does not say that it supports S256.") % {"host": host})


def _metadata_places(issuer: str) -> Iterator[str]:
    """RFC 8414 with the path inserted, then OpenID Connect inserted and appended."""
    try:
        parts = urlsplit(issuer)
    except ValueError:
        return
    path = parts.path.rstrip("/")
    origin = (parts.scheme, parts.netloc)
    yield urlunsplit((*origin, f"/.well-known/oauth-authorization-server{path}", "", ""))
    yield urlunsplit((*origin, f"/.well-known/openid-configuration{path}", "", ""))
    if path:
        yield urlunsplit((*origin, f"{path}/.well-known/openid-configuration", "", ""))


def _bogus_token(checks: _Checks, conversation: Conversation) -> None:
    """Invented here and now; the method is one that a server without a guard would answer."""
    try:
        reply = conversation.ask("tools/list", token=f"invented-{secrets.token_urlsafe(24)}")
    except OutboundError as error:
        checks.note("bogus_token", "unknown", error.message)
        return
    if reply.status == HTTPStatus.UNAUTHORIZED:
        checks.note("bogus_token", "pass", _("A token nobody issued is answered with 401."))
    elif reply.result is not None:
        checks.note("bogus_token", "fail", _("It lists its tools to a token nobody issued."))
    elif reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        checks.note("bogus_token", "fail", _("A token nobody issued makes it fail: %(n)d.") % {"n": reply.status})
    else:
        said = _("A token nobody issued is answered with %(n)d; clients expect 401.") % {"n": reply.status}
        checks.note("bogus_token", "warn", said)


# --- Documents -------------------------------------------------------------------------------------------


def _document(door: Door, url: str) -> Mapping[str, Any] | None:
    """A JSON object at `url`, asked without any header that could identify anybody; None when there is none."""
    try:
        answer: Answer = door.fetch("GET", url, headers={"Accept": "application/json"}, limits=_DOCUMENT)
        document = answer.json() if answer.status == HTTPStatus.OK else None
    except OutboundError:
        return None
    return document if isinstance(document, dict) else None


def _strings(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _hosts(urls: Any) -> list[str]:
    hosts = []
    for url in _strings(urls):
        try:
            hosts.append(urlsplit(url).hostname or "?")
        except ValueError:
            hosts.append("?")
    return hosts
