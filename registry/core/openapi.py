"""What holds for every operation of the API is said once, when its description is made."""

from typing import Any

from django.core.exceptions import FieldDoesNotExist
from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

METHODS = ("get", "post", "put", "patch", "delete")
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong, as RFC 9457 says it.",
    "properties": {
        "type": {"type": "string", "description": "Stable; ends with the code of the error."},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "The address that was asked."},
        "errors": {
            "type": "array",
            "description": "Every field that needs attention.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer (RFC 6901) into the body."},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "instance"],
}


class Schema(AutoSchema):
    """Says of what is only read that it may be empty, where the model says so.

    REST framework forgets that of read-only fields, so a choice that is open or an address nobody gave would break the
    promise of the description.
    """

    def _map_serializer_field(
        self, field: serializers.Field[Any, Any, Any, Any], direction: Any, bypass_extensions: bool = False
    ) -> Any:
        if isinstance(field, serializers.ChoiceField) and _may_be_blank(field):
            field.allow_blank = True
        return super()._map_serializer_field(field, direction, bypass_extensions)

    def _insert_field_validators(self, field: serializers.Field[Any, Any, Any, Any], schema: dict[str, Any]) -> None:
        super()._insert_field_validators(field, schema)
        if _may_be_blank(field):
            schema.pop("format", None)


def _may_be_blank(field: serializers.Field[Any, Any, Any, Any]) -> bool:
    if not field.read_only or not isinstance(field, serializers.CharField | serializers.ChoiceField):
        return False
    model = getattr(getattr(field.parent, "Meta", None), "model", None)
    try:
        return model is not None and bool(model._meta.get_field(str(field.source)).blank)
    except FieldDoesNotExist:
        return False


def say_problems(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """A postprocessing hook of drf-spectacular: every operation may also answer with a problem."""
    result["components"]["schemas"]["Problem"] = PROBLEM
    answer = {
        "description": "A problem: not signed in, not allowed, not found, not valid, changed meanwhile, too often.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path in result["paths"].values():
        for method in METHODS:
            if method in path:
                path[method]["responses"].setdefault("default", answer)
                if method == "get":
                    path[method]["responses"].setdefault("304", {"description": "As it was: see If-None-Match."})
    return result
