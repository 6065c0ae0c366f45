"""REST resources of what was seen: gateways and fleet tools push, people and tools read and settle."""

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from registry.catalog.models import Server
from registry.core.api import ReadViewSet, SeenField, answer, expected_version
from registry.core.errors import Invalid, Malformed
from registry.core.rest import JSONParser
from registry.discovery import services
from registry.discovery.entries import Configured, Refusal
from registry.discovery.filters import ShadowFilter, SightingFilter
from registry.discovery.formats import json_text, read_document
from registry.discovery.formats.clients import looks_like, read_configuration, read_reported
from registry.discovery.models import Shadow, Sighting

SCOPES = ("system", "user", "project", "extension")


class ConfigurationParser(JSONParser):
    """JSON whose objects remember keys that were given twice, for those are told of."""

    def load(self, raw: bytes, media_type: str | None, parser_context: Any) -> Any:
        try:
            return json_text.load(raw.decode())
        except ValueError as error:
            raise ParseError("JSON parse error") from error


class InlineSecretSerializer(serializers.Serializer[Any]):
    path = serializers.CharField(help_text="JSON pointer to the value.")
    looks = serializers.CharField(help_text="The rule that recognised it.")
    redaction = serializers.CharField(help_text="Says nothing of the value.")


class SightingRecordSerializer(serializers.ModelSerializer[Sighting]):
    secrets = InlineSecretSerializer(many=True, read_only=True)
    facts = serializers.DictField(read_only=True)

    class Meta:
        model = Sighting
        fields = [
            "id", "at", "job", "reported_by", "client", "place", "scope", "entry", "canonical_uri", "identified",
            "facts", "secrets", "server", "shadow",
        ]  # fmt: skip
        read_only_fields = fields


class ShadowSerializer(serializers.ModelSerializer[Shadow]):
    class Meta:
        model = Shadow
        fields = [
            "id", "version", "created_at", "updated_at", "canonical_uri", "label", "transport", "state", "server",
            "first_seen", "last_seen", "times", "reason", "ignored_until", "settled_by", "settled_at",
        ]  # fmt: skip
        read_only_fields = fields


class PackageInput(serializers.Serializer[Any]):
    registry = serializers.CharField(max_length=20, help_text="npm, pypi, oci, nuget, …")
    identifier = serializers.CharField(max_length=300)
    version = serializers.CharField(max_length=255, required=False)


class ReportedInput(serializers.Serializer[Any]):
    """One normalised sighting: a URL, a package, or the command line it is started with."""

    entry = serializers.CharField(max_length=200, help_text="What the client calls it.")
    transport = serializers.CharField(max_length=20, required=False)
    url = serializers.CharField(max_length=2000, required=False)
    package = PackageInput(required=False)
    command = serializers.CharField(max_length=1000, required=False)
    args = serializers.ListField(child=serializers.CharField(allow_blank=True), required=False, max_length=500)
    enabled = serializers.BooleanField(required=False)


class SightingsInput(serializers.Serializer[Any]):
    client = serializers.SlugField(max_length=40, help_text="claude-code, vscode, …, or the name of a gateway.")
    place = serializers.CharField(max_length=300, help_text="Host, person, project: where it was seen.")
    scope = serializers.ChoiceField(SCOPES, required=False)
    at = serializers.DateTimeField(required=False, help_text="When it was seen; now, unless said.")
    file = serializers.CharField(max_length=300, required=False, help_text="The name of the configuration's file.")
    configuration = serializers.JSONField(
        required=False, help_text="A client's configuration: an object, or its text in JSON, JSONC or TOML."
    )
    sightings = ReportedInput(many=True, required=False, help_text="Or normalised sightings.")


class SightedSerializer(serializers.Serializer[Any]):
    entry = serializers.CharField()
    canonical_uri = serializers.CharField()
    new = serializers.BooleanField(help_text="False when the same was told before.")
    catalogued = serializers.BooleanField()
    server = serializers.UUIDField(allow_null=True, help_text="Null also for a server that you may not see.")
    shadow = serializers.UUIDField(allow_null=True)
    secrets = InlineSecretSerializer(many=True)


class RefusedEntrySerializer(serializers.Serializer[Any]):
    entry = serializers.CharField()
    reasons = serializers.ListField(child=serializers.CharField())


class ReportSerializer(serializers.Serializer[Any]):
    results = SightedSerializer(many=True)
    refused = RefusedEntrySerializer(many=True)


class LinkInput(serializers.Serializer[Any]):
    server = SeenField(Server)


class IgnoreInput(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000)
    until = serializers.DateField()


class ReopenInput(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000, required=False)


@extend_schema_view(
    list=extend_schema(summary="Where servers were seen, newest first"),
    retrieve=extend_schema(summary="One sighting"),
)
class SightingViewSet(ReadViewSet):
    room = "discovery"
    parser_classes = [ConfigurationParser]
    serializer_class = SightingRecordSerializer
    filterset_class = SightingFilter

    def get_queryset(self) -> QuerySet[Any]:
        return Sighting.objects.visible_to(self.actor)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        # Append-only, so it has no version and needs no ETag.
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        summary="Report what clients have configured",
        description=(
            "A configuration, or normalised sightings. Secrets in it are told of by their place and never kept. "
            "Telling the same again adds nothing; entries that no client could start are refused one by one."
        ),
        request=SightingsInput,
        responses={201: ReportSerializer},
    )
    def create(self, request: Request) -> Response:
        given = self.parse(SightingsInput)
        read = _read(given)
        entries = [each for each in read if isinstance(each, Configured)]
        done = services.report_sightings(actor=self.actor, entries=entries, at=given.get("at"))
        servers = {each.server.pk for each in done if each.server}
        shown = set(Server.objects.visible_to(self.actor).filter(pk__in=servers).values_list("pk", flat=True))
        results = []
        for entry, each in zip(entries, done, strict=True):
            hidden = each.server is not None and each.server.pk not in shown
            results.append({
                "entry": entry.entry,
                "canonical_uri": entry.canonical_uri,
                "new": each.sighting is not None,
                "catalogued": each.server is not None,
                "server": each.server.pk if each.server and not hidden else None,
                "shadow": each.shadow.pk if each.shadow and not hidden else None,
                "secrets": entry.secrets,
            })  # fmt: skip
        refused = [{"entry": each.name, "reasons": each.reasons} for each in read if isinstance(each, Refusal)]
        return Response(ReportSerializer({"results": results, "refused": refused}).data, status.HTTP_201_CREATED)


def _read(given: Mapping[str, Any]) -> list[Configured | Refusal]:
    """What was sent, entry by entry. Raises `Invalid` for what is no client's configuration."""
    scope = given.get("scope", "")
    whose = {"client": given["client"], "place": given["place"], "file": given.get("file", "")}
    configuration, reported = given.get("configuration"), given.get("sightings")
    if (configuration is None) == (reported is None):
        raise Invalid(fields={"configuration": ["Send either a configuration or sightings."]})
    if reported is not None:
        return read_reported(reported, client=given["client"], place=given["place"], scope=scope)
    read: list[Any] = []
    try:
        if isinstance(configuration, str):
            read = [row.read for row in read_document(configuration, **whose)]
        elif isinstance(configuration, Mapping) and looks_like(configuration):
            read = list(read_configuration(configuration, scope=scope, **whose))
    except Malformed as error:
        raise Invalid(fields={"configuration": [error.message]}) from None
    if not any(isinstance(each, Configured) for each in read) and not looks_like(configuration):
        raise Invalid(fields={"configuration": ["This is no client's configuration."]})
    return [each for each in read if isinstance(each, Configured | Refusal)]


@extend_schema_view(
    list=extend_schema(summary="Servers that are used but not catalogued"),
    retrieve=extend_schema(summary="One shadow server"),
)
class ShadowViewSet(ReadViewSet):
    room = "discovery"
    serializer_class = ShadowSerializer
    filterset_class = ShadowFilter

    def get_queryset(self) -> QuerySet[Any]:
        return Shadow.objects.visible_to(self.actor)

    def _settle(self, act: Callable[..., Shadow], body: type[serializers.Serializer[Any]]) -> Response:
        version = expected_version(self.request)
        shadow = act(actor=self.actor, shadow=self.get_object(), expected_version=version, **self.parse(body))
        return answer(shadow, ShadowSerializer(shadow).data)

    @extend_schema(
        summary="Settle it by the server registered at its address", request=LinkInput, responses=ShadowSerializer
    )
    @action(detail=True, methods=["post"])
    def register(self, request: Request, pk: str | None = None) -> Response:
        return self._settle(services.register_shadow, LinkInput)

    @extend_schema(summary="Say which server it is", request=LinkInput, responses=ShadowSerializer)
    @action(detail=True, methods=["post"])
    def link(self, request: Request, pk: str | None = None) -> Response:
        return self._settle(services.link_shadow, LinkInput)

    @extend_schema(summary="Leave it alone until a day", request=IgnoreInput, responses=ShadowSerializer)
    @action(detail=True, methods=["post"])
    def ignore(self, request: Request, pk: str | None = None) -> Response:
        return self._settle(services.ignore_shadow, IgnoreInput)

    @extend_schema(summary="Take back what was said about it", request=ReopenInput, responses=ShadowSerializer)
    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, pk: str | None = None) -> Response:
        return self._settle(services.reopen_shadow, ReopenInput)
