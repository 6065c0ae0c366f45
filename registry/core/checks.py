"""What an operator may set and should not have outside a trial: said by name, by `manage.py check --deploy`."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register


@register(Tags.security, deploy=True)
def check_production(**_options: Any) -> list[CheckMessage]:
    """Errors outside the embedded profile, which listens on one machine."""
    return [] if settings.EMBEDDED else _unsafe()


def _unsafe() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.DEBUG:
        said = "DEBUG is on: whoever causes an error reads settings, code and local variables."
        found.append(Error(said, hint="Leave DEBUG out.", id="steward.E001"))
    if any(host.strip() in ("*", ".") for host in settings.ALLOWED_HOSTS):
        said = "ALLOWED_HOSTS takes every host: whoever forges the header has our links lead to theirs."
        found.append(Error(said, hint="Leave it out: the host of BASE_URL is the default.", id="steward.E002"))
    if not settings.BASE_URL.startswith("https://"):
        said = "BASE_URL is not https: sessions, tokens and what is shown travel readable, and cookies are not Secure."
        found.append(Error(said, hint="Set https://…, and a proxy that ends TLS (BEHIND_PROXY).", id="steward.E003"))
    return found
