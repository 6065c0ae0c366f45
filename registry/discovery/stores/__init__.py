"""Stores of secrets that are asked whether a secret is there. Asked is metadata, never a value.

A kind without a store here is nothing a program can look up: somebody who answers for it says so, with an end.
"""

from collections.abc import Callable
from typing import NamedTuple

import structlog
from django.utils.translation import gettext as _

from registry.catalog.models import SecretSource
from registry.discovery.stores import aws, kubernetes, vault
from registry.discovery.stores.looked import Looked, cannot

log = structlog.get_logger(__name__)
Kind = SecretSource.Kind


class Store(NamedTuple):
    """`missing()` says what this registry lacks to ask it, empty when nothing; `check(reference)` asks."""

    missing: Callable[[], str]
    check: Callable[[str], Looked]


STORES: dict[str, Store] = {
    Kind.AWS_SECRETS_MANAGER: Store(aws.missing, aws.check),
    Kind.VAULT: Store(vault.missing, vault.check),
    Kind.KUBERNETES: Store(kubernetes.missing, kubernetes.check),
}


def connected() -> list[str]:
    """The kinds that can be asked as this registry is set up."""
    return [kind for kind, store in STORES.items() if not store.missing()]


def obstacle(kind: str) -> str:
    """Why a source of this kind cannot be looked up here; empty when it can."""
    if store := STORES.get(kind):
        return store.missing()
    return "" if kind == Kind.NONE else _("No program can look this kind up; somebody who answers for it attests it.")


def check(source: SecretSource) -> Looked:
    """Ask the store of `source`. Never raises; an error's own words may hold what nobody should read."""
    store = STORES.get(source.kind)
    if why := obstacle(source.kind):
        return cannot(why)
    if store is None:
        return cannot(_("There is no credential to look up."))
    try:
        return store.check(source.reference)
    except Exception as error:
        log.error("secret_check_failed", source_id=str(source.pk), kind=source.kind, error=type(error).__name__)
        return cannot(_("Something went wrong on our side; it is logged."))


__all__ = ["STORES", "Looked", "check", "connected", "obstacle"]
