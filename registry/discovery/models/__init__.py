"""What was observed, and what was handed in. Nothing here grants anything: observation never mints authority."""

from registry.discovery.models.definitions import Definitions, Drift, DriftState, Snapshot, Watch
from registry.discovery.models.imports import ImportJob, ImportJobQuerySet, ImportResult, PendingEntry
from registry.discovery.models.probes import Probe
from registry.discovery.models.publishing import Publication
from registry.discovery.models.registries import RegistryEntry, RegistrySource
from registry.discovery.models.secret_checks import SecretAttestation, SecretCheck, SecretWatch
from registry.discovery.models.sightings import Shadow, ShadowState, Sighting

__all__ = [
    "Definitions",
    "Drift",
    "DriftState",
    "ImportJob",
    "ImportJobQuerySet",
    "ImportResult",
    "PendingEntry",
    "Probe",
    "Publication",
    "RegistryEntry",
    "RegistrySource",
    "SecretAttestation",
    "SecretCheck",
    "SecretWatch",
    "Shadow",
    "ShadowState",
    "Sighting",
    "Snapshot",
    "Watch",
]
