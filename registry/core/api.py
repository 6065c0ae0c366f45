"""The base of every REST resource: lists and details of what the actor may see, ETag and If-Match."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from registry.core import idempotency
from registry.core.actors import Actor
from registry.core.models import IdempotentAnswer
from registry.core.rest import actor_of

IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="ETag you worked on; 412 when the record changed since."
)


def expected_version(request: Request) -> str | None:
    """The ETag the caller worked on (If-Match), for `Record.check_version`."""
    return request.headers.get("If-Match")


class SeenField(serializers.PrimaryKeyRelatedField[Any]):
    """A governed thing by id; one that the actor may not see does not exist."""

    def __init__(self, model: Any, **kwargs: Any) -> None:
        self.model = model
        super().__init__(queryset=model.objects.all(), **kwargs)

    def get_queryset(self) -> Any:
        return self.model.objects.visible_to(actor_of(self.context["request"]))


class ReasonInput(serializers.Serializer[Any]):
    """The body of every act that only wants to know why."""

    reason = serializers.CharField(max_length=2000)


def answer(record: Any, data: Any, status: int = 200) -> Response:
    """A single record with its strong ETag."""
    return Response(data, status=status, headers={"ETag": record.etag})


class ReadViewSet(viewsets.ReadOnlyModelViewSet[Any]):
    """List and detail of what the actor may see. Subclasses set `room`, `serializer_class` and `get_queryset`."""

    room = ""
    replayable = True
    """Whether answers may be kept for Idempotency-Key; False where an answer holds a secret."""
    _claim: IdempotentAnswer | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.replayable:
            self._claim = idempotency.begin(request, str(self.actor.token_id or self.actor.user_id))

    def handle_exception(self, exc: Exception) -> Response:
        return exc.response() if isinstance(exc, idempotency.Replay) else super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if self._claim is not None:
            idempotency.finish(self._claim, response)
        return super().finalize_response(request, response, *args, **kwargs)

    @property
    def actor(self) -> Actor:
        return actor_of(self.request)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        record = self.get_object()
        return answer(record, self.get_serializer(record).data)

    def parse(self, serializer_class: type[serializers.Serializer[Any]], **kwargs: Any) -> dict[str, Any]:
        """The validated body, as keyword arguments for one service call.

        A name that is none of ours is refused: a misspelt `scopes` must not ask for everything.
        """
        serializer = serializer_class(data=self.request.data, context=self.get_serializer_context(), **kwargs)
        given = self.request.data
        if isinstance(given, Mapping) and (strange := given.keys() - serializer.fields.keys()):
            # Beside whatever else is wrong: one round of corrections, not two.
            serializer.is_valid()
            raise serializers.ValidationError(
                {**serializer.errors, **{name: ["There is no such field."] for name in sorted(strange)}}
            )
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)
