"""Service principals, workload issuers, and what the registry finds about its own credentials, as REST resources."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.accounts import services
from registry.accounts.filters import IssuerFilter, PrincipalFilter
from registry.accounts.hygiene import KINDS, findings
from registry.accounts.models import ServicePrincipal, Team, User, WorkloadIssuer
from registry.accounts.models.workloads import ALGORITHMS
from registry.accounts.queries import issuers_visible_to, principals_visible_to
from registry.core.api import ReadViewSet, answer, expected_version
from registry.core.rest import actor_of

_stamps = ["id", "version", "created_at", "updated_at"]
_SCOPES_HELP = "Such as `catalog.servers:read`, `trust:write` for a whole room, or `read` for every room."


def _texts(**options: Any) -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(max_length=60), **options)


class ReasonGiven(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


# --- Issuers -----------------------------------------------------------------------------------------------


class WorkloadIssuerSerializer(serializers.ModelSerializer[WorkloadIssuer]):
    algorithms = _texts(read_only=True)
    key_ids = serializers.SerializerMethodField(help_text="The `kid` of every key that it has now.")

    class Meta:
        model = WorkloadIssuer
        fields = [
            *_stamps, "name", "issuer", "audience", "jwks_uri", "trust_domain", "algorithms", "state", "key_ids",
            "keys_at", "keys_error",
        ]  # fmt: skip
        read_only_fields = fields

    def get_key_ids(self, issuer: WorkloadIssuer) -> list[str]:
        return [key["kid"] for key in issuer.keys]


class IssuerChanges(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120, required=False)
    audience = serializers.CharField(
        max_length=400, required=False, allow_blank=True, help_text="Exactly the token's `aud`; empty: BASE_URL."
    )
    jwks_uri = serializers.CharField(
        max_length=400, required=False, allow_blank=True, help_text="Where its keys are; empty: by its own description."
    )
    trust_domain = serializers.CharField(max_length=255, required=False, allow_blank=True)
    algorithms = serializers.ListField(child=serializers.ChoiceField(ALGORITHMS), required=False)


class IssuerInput(IssuerChanges):
    name = serializers.CharField(max_length=120)
    issuer = serializers.CharField(max_length=400, help_text="Exactly the token's `iss`.")


@extend_schema_view(
    list=extend_schema(summary="Whose word about workloads is believed", tags=["accounts"]),
    retrieve=extend_schema(summary="One workload issuer", tags=["accounts"]),
)
class WorkloadIssuerViewSet(ReadViewSet):
    room = "accounts"
    queryset = WorkloadIssuer.objects.none()
    serializer_class = WorkloadIssuerSerializer
    filterset_class = IssuerFilter

    def get_queryset(self) -> QuerySet[WorkloadIssuer]:
        return issuers_visible_to(self.actor)

    @extend_schema(
        summary="Register an issuer", tags=["accounts"], request=IssuerInput, responses={201: WorkloadIssuerSerializer}
    )
    def create(self, request: Request) -> Response:
        issuer = services.register_issuer(actor=self.actor, **self.parse(IssuerInput))
        return answer(issuer, WorkloadIssuerSerializer(issuer).data, status=201)

    @extend_schema(
        summary="Change an issuer", tags=["accounts"], request=IssuerChanges, responses={200: WorkloadIssuerSerializer}
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        issuer = services.edit_issuer(
            actor=self.actor,
            issuer=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(IssuerChanges),
        )
        return answer(issuer, WorkloadIssuerSerializer(issuer).data)

    @extend_schema(
        summary="Ask for its keys now", tags=["accounts"], request=None, responses={200: WorkloadIssuerSerializer}
    )
    @action(detail=True, methods=["post"], url_path="refresh-keys")
    def refresh_keys(self, request: Request, pk: str) -> Response:
        issuer = self.get_object()
        services.refresh_issuer_keys(actor=self.actor, issuer=issuer)
        return answer(issuer, WorkloadIssuerSerializer(issuer).data)

    @extend_schema(
        summary="Believe it no more", tags=["accounts"], request=ReasonGiven, responses={200: WorkloadIssuerSerializer}
    )
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        issuer = services.retire_issuer(actor=self.actor, issuer=self.get_object(), **self.parse(ReasonGiven))
        return answer(issuer, WorkloadIssuerSerializer(issuer).data)


# --- Service principals ------------------------------------------------------------------------------------


class ServicePrincipalSerializer(serializers.ModelSerializer[ServicePrincipal]):
    scopes = _texts(read_only=True)
    networks = _texts(read_only=True)
    claims = serializers.DictField(read_only=True)

    class Meta:
        model = ServicePrincipal
        fields = [
            *_stamps, "name", "purpose", "owner", "team", "issuer", "subject", "audience", "claims", "scopes",
            "networks", "state", "state_reason", "last_used_at", "last_address",
        ]  # fmt: skip
        read_only_fields = fields


class PrincipalChanges(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120, required=False)
    purpose = serializers.CharField(max_length=500, required=False)
    issuer = serializers.PrimaryKeyRelatedField(queryset=WorkloadIssuer.objects.all(), required=False)
    subject = serializers.CharField(
        max_length=500,
        required=False,
        help_text="The token's `sub`. It may end in * after : or /, but a SPIFFE id is written out.",
    )
    scopes = _texts(required=False, allow_empty=False, help_text=_SCOPES_HELP)
    owner = serializers.PrimaryKeyRelatedField(
        queryset=User.objects.all(), required=False, help_text="Yourself, unless you are an administrator."
    )
    team: Any = serializers.SlugRelatedField(
        slug_field="slug", queryset=Team.objects.all(), required=False, allow_null=True
    )
    audience = serializers.CharField(
        max_length=400, required=False, allow_blank=True, help_text="Where it differs from the issuer's."
    )
    claims = serializers.DictField(required=False, help_text="Further members of the token that must be equal.")
    networks = _texts(required=False, help_text="Where it may call from; empty: anywhere.")


class PrincipalInput(PrincipalChanges):
    name = serializers.CharField(max_length=120)
    purpose = serializers.CharField(max_length=500)
    issuer = serializers.PrimaryKeyRelatedField(queryset=WorkloadIssuer.objects.all())
    subject = serializers.CharField(max_length=500)
    scopes = _texts(allow_empty=False, help_text=_SCOPES_HELP)


@extend_schema_view(
    list=extend_schema(summary="Workloads that may act here", tags=["accounts"]),
    retrieve=extend_schema(summary="One service principal", tags=["accounts"]),
)
class ServicePrincipalViewSet(ReadViewSet):
    """As what workloads act that prove themselves with their platform's JWT."""

    room = "accounts"
    queryset = ServicePrincipal.objects.none()
    serializer_class = ServicePrincipalSerializer
    filterset_class = PrincipalFilter

    def get_queryset(self) -> QuerySet[ServicePrincipal]:
        return principals_visible_to(self.actor)

    def _answer(self, principal: ServicePrincipal, status: int = 200) -> Response:
        return answer(principal, ServicePrincipalSerializer(principal).data, status=status)

    @extend_schema(
        summary="Let a workload act",
        tags=["accounts"],
        request=PrincipalInput,
        responses={201: ServicePrincipalSerializer},
    )
    def create(self, request: Request) -> Response:
        return self._answer(services.create_principal(actor=self.actor, **self.parse(PrincipalInput)), 201)

    @extend_schema(
        summary="Change a service principal",
        tags=["accounts"],
        request=PrincipalChanges,
        responses={200: ServicePrincipalSerializer},
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        principal = services.edit_principal(
            actor=self.actor,
            principal=self.get_object(),
            expected_version=expected_version(request),
            **self.parse(PrincipalChanges),
        )
        return self._answer(principal)

    def _act(self, act: Callable[..., ServicePrincipal], **said: Any) -> Response:
        return self._answer(act(actor=self.actor, principal=self.get_object(), **said))

    @extend_schema(
        summary="Stop it for now", tags=["accounts"], request=ReasonGiven, responses={200: ServicePrincipalSerializer}
    )
    @action(detail=True, methods=["post"])
    def suspend(self, request: Request, pk: str) -> Response:
        return self._act(services.suspend_principal, **self.parse(ReasonGiven))

    @extend_schema(
        summary="Let it act again, or accept it", tags=["accounts"], request=None,
        responses={200: ServicePrincipalSerializer},
    )  # fmt: skip
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        return self._act(services.resume_principal)

    @extend_schema(
        summary="Stop it for good", tags=["accounts"], request=ReasonGiven, responses={200: ServicePrincipalSerializer}
    )
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        return self._act(services.retire_principal, **self.parse(ReasonGiven))


# --- Findings ----------------------------------------------------------------------------------------------


class FindingSerializer(serializers.Serializer[Any]):
    """One credential of this registry that stands out, and what ends that."""

    kind = serializers.ChoiceField(list(KINDS), source="kind.name")
    title = serializers.CharField(source="kind.title")
    why = serializers.CharField(source="kind.why")
    act = serializers.CharField(source="kind.act")
    since = serializers.DateTimeField()
    token = serializers.SerializerMethodField()
    service_principal = serializers.SerializerMethodField()
    name = serializers.CharField(source="credential.name")
    owner = serializers.UUIDField(source="owner.pk")

    def get_token(self, finding: Any) -> str | None:
        return str(finding.credential.pk) if finding.is_token else None

    def get_service_principal(self, finding: Any) -> str | None:
        return None if finding.is_token else str(finding.credential.pk)


class MachineFindings(APIView):
    """What is wrong with the credentials that you may see: your tokens, or with oversight everybody's."""

    room = "accounts"

    @extend_schema(
        operation_id="machine_findings_list",
        summary="Findings about this registry's own credentials, the most urgent first",
        tags=["accounts"],
        responses={200: FindingSerializer(many=True)},
    )
    def get(self, request: Request) -> Response:
        return Response(FindingSerializer(findings(actor_of(request)), many=True).data)


routes: list[Any] = [
    ("service-principals", ServicePrincipalViewSet, "service-principal"),
    ("workload-issuers", WorkloadIssuerViewSet, "workload-issuer"),
]
paths = [path("machine-findings", MachineFindings.as_view(), name="machine-findings")]
