"""REST resources of discovery, by topic."""

from django.urls import path

from registry.discovery.api.drift import DriftViewSet
from registry.discovery.api.imports import ImportViewSet
from registry.discovery.api.probes import ProbeViewSet
from registry.discovery.api.registries import PublicationViewSet, RegistryViewSet
from registry.discovery.api.secret_checks import (
    SecretAttestationViewSet,
    SecretCheckViewSet,
    SecretStateViewSet,
)
from registry.discovery.api.sightings import ShadowViewSet, SightingViewSet
from registry.discovery.api.snapshots import ServerSnapshotsViewSet, SnapshotsViewSet

routes = [
    ("drifts", DriftViewSet, "drift"),
    ("probes", ProbeViewSet, "probe"),
    ("snapshots", SnapshotsViewSet, "snapshot"),
    ("imports", ImportViewSet, "import"),
    ("sightings", SightingViewSet, "sighting"),
    ("shadows", ShadowViewSet, "shadow"),
    ("registries", RegistryViewSet, "registry"),
    ("secret-checks", SecretCheckViewSet, "secret-check"),
    ("secret-attestations", SecretAttestationViewSet, "secret-attestation"),
    ("secret-states", SecretStateViewSet, "secret-state"),
    ("publications", PublicationViewSet, "publication"),
]
paths = [
    path(
        "servers/<uuid:server_pk>/snapshots",
        ServerSnapshotsViewSet.as_view({"get": "list", "post": "create"}),
        name="server-snapshots",
    ),
]
