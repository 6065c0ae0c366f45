"""Whatever goes wrong, in the words of RFC 7644 section 3.12 and with the names that the directory knows."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig
from pydantic import ValidationError
from rest_framework.response import Response
from scim2_models import Error, PayloadTooLargeException, SCIMException

from registry.core.errors import Conflict, Invalid, Malformed, RegistryError
from registry.core.rest import as_registry_error

ATTRIBUTES = {
    "user_name": "userName",
    "external_id": "externalId",
    "email": "emails",
    "given_name": "name.givenName",
    "family_name": "name.familyName",
}
"""Attributes that are called otherwise here; a person's or a group's `name` is its `displayName`."""
EXPECTED = {
    "bool": "true or false",
    "string": "a text",
    "int": "a whole number",
    "list": "an array",
    "model": "an object",
    "dict": "an object",
}
"""By the first word of pydantic's name for what is wrong."""


def as_scim(error: RegistryError) -> Error:
    """The registry's own error."""
    scim_type = None
    if isinstance(error, Invalid):
        scim_type = "invalidValue"
    elif isinstance(error, Malformed):
        scim_type = "invalidSyntax"
    elif isinstance(error, Conflict):
        scim_type = "uniqueness"
    named = {
        ATTRIBUTES.get(name, "displayName" if name == "name" else name): said for name, said in error.fields.items()
    }
    said = "; ".join(f"{name}: {' '.join(messages)}" for name, messages in named.items())
    status = 400 if isinstance(error, Invalid) else error.status
    return Error(status=status, scim_type=scim_type, detail=said or error.message)


def _misread(error: ValidationError) -> Error:
    """What does not fit the schema: which attribute, and what belongs there."""
    found = Error.from_validation_errors(error)[0]
    first = error.errors(include_url=False)[0]
    place = ".".join(_camel(str(each)) for each in first["loc"] if not isinstance(each, int))
    kind = first["type"].partition("_")[0]
    if first["type"].startswith("json"):
        found.detail = "The body is no JSON"
    elif kind in EXPECTED:
        found.detail = f"{place or 'The body'}: must be {EXPECTED[kind]}"
    return found


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.capitalize() for each in others)


def answer_error(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """REST framework's exception handler for these endpoints."""
    cause = error.__cause__
    if isinstance(error, ValidationError):
        found = _misread(error)
    elif isinstance(error, SCIMException) and isinstance(cause, ValidationError):
        found = error.to_error()  # a PATCH: the library repeats what its parser says, at length
        found.detail = _misread(cause).detail
    elif isinstance(error, SCIMException):
        found = error.to_error()
    elif isinstance(error, RequestDataTooBig):
        found = PayloadTooLargeException().to_error()
    elif (known := as_registry_error(error)) is not None:
        found = as_scim(known)
    else:
        return None
    response = Response(found.model_dump(), status=found.status or 400)
    if found.status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="registry"'
    if wait := getattr(error, "wait", None):
        response["Retry-After"] = str(int(wait))
    return response
