"""What a workload is called by its issuer (`sub`): an id, a SPIFFE id, or all ids that begin alike."""

import re
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

SPIFFE = "spiffe://"
MAX_SUBJECT = 500
LEAST_PREFIX = 8
_SPIFFE_ID = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)")
_DELIMITERS = ":/"


def trust_domain_of(subject: str) -> str:
    """The trust domain of a well-formed SPIFFE id, else ""."""
    match = _SPIFFE_ID.fullmatch(subject)
    if match is None or any(part in (".", "..") for part in match[2].split("/")):
        return ""
    return match[1]


def wrong_with_subject(subject: str, trust_domain: str) -> str:
    """Why workloads of an issuer cannot be named so, or ""."""
    if not subject or len(subject) > MAX_SUBJECT or not subject.isprintable():
        return _("The sub of its tokens, at most %(n)d characters.") % {"n": MAX_SUBJECT}
    if subject.lower().startswith(SPIFFE) or trust_domain:
        domain = trust_domain_of(subject)
        if not domain:
            return _("A SPIFFE id is written out exactly: spiffe://trust-domain/path.")
        if domain != trust_domain:
            return _("This issuer does not vouch for the trust domain %(domain)s.") % {"domain": domain}
    elif "*" in subject:
        prefix = subject[:-1]
        if "*" in prefix or prefix[-1:] not in _DELIMITERS or len(prefix) < LEAST_PREFIX:
            return _(
                "A * stands only at the end, after : or /, and after at least %(n)d characters, so that no other fits."
            ) % {"n": LEAST_PREFIX}
    return ""


def fitting(subject: str) -> list[str]:
    """Every way a principal can be registered that fits this `sub`, the closest first."""
    if subject.startswith(SPIFFE):
        return [subject]
    ends = [place + 1 for place, letter in enumerate(subject) if letter in _DELIMITERS and place + 1 >= LEAST_PREFIX]
    # A registered `…*` would else be matched by a token whose own sub ends in a literal asterisk.
    exact = [] if "*" in subject else [subject]
    return exact + [f"{subject[:end]}*" for end in reversed(ends)]


def wrong_with_url(url: str) -> str:
    """Why this cannot be the address of an issuer or its keys, or ""."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and not parts.password
    except ValueError:
        usable = False
    if not usable or len(url) > 400 or not url.isprintable() or " " in url:
        return _("An https address.")
    if parts.query or parts.fragment:
        return _("An address without query and fragment.")
    return ""
