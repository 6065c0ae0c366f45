"""What the acts of the catalog have in common."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import models

from registry.accounts.models import User
from registry.audit.services import record
from registry.catalog.events import (
    ServerChanged,
)
from registry.catalog.models import (
    Server,
)
from registry.catalog.states import Lifecycle
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets

R = TypeVar("R", bound=models.Model)


def validated(thing: R, *, prefix: str = "", exclude: Iterable[str] = ()) -> R:
    """Field and uniqueness checks of the model, as `Invalid` with our field names."""
    try:
        thing.full_clean(exclude=set(exclude))
    except ValidationError as error:
        fields = {
            f"{prefix}{'' if name == '__all__' else name}".rstrip("."): [str(message) for message in messages]
            for name, messages in error.message_dict.items()
        }
        raise Invalid(fields=fields) from error
    return thing


def locked_server(server: Server, expected_version: str | None = None) -> Server:
    people = ("owner", "deputy", "operator", "team")
    fresh = Server.objects.select_for_update(of=("self",)).select_related(*people).get(pk=server.pk)
    fresh.check_version(expected_version)
    return fresh  # type: ignore[no-any-return]


def editable(actor: Actor, server: Server, expected_version: str | None) -> Server:
    """Lock a server for an edit. Retired servers and those in front of a reviewer stand still."""
    fresh = locked_server(server, expected_version)
    require(actor, "catalog.edit_server", fresh)
    if fresh.lifecycle == Lifecycle.RETIRED:
        raise Conflict("This server is retired; nothing about it changes any more.")
    if fresh.lifecycle == Lifecycle.SUBMITTED:
        raise Conflict("This server is in front of a reviewer. Withdraw it to change something.")
    return fresh


def note_change(actor: Actor, server: Server, act: str, data: Mapping[str, Any] | None = None) -> None:
    """Touch the server (its ETag covers its parts), write the evidence, tell upper rooms."""
    server.save()
    record(actor=actor, act=act, subject=server, data=data)
    publish(ServerChanged(server_id=server.pk))


def only_reads(person: User) -> str:
    """Said of whoever was named to answer for something."""
    return f"{person} is an auditor and only reads. Name somebody with another role."


def given_reason(reason: str) -> str:
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say why; whoever reads this in a year will ask."]})
    refuse_secrets({"reason": reason})
    return reason.strip()


def stripped(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.strip() if isinstance(value, str) else value for name, value in facts.items()}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value.pk) if isinstance(value, models.Model) else value for name, value in values.items()}
