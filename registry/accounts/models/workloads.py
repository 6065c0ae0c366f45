"""Workloads that act without a secret of ours: who vouches for them, and as what they act."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models.people import Team, User
from registry.core.models import Record, kept_forever

ALGORITHMS = ("RS256", "ES256", "EdDSA")


def all_algorithms() -> list[str]:
    return list(ALGORITHMS)


class WorkloadIssuer(Record):
    """Whose signed word about a workload is believed: a cluster, a CI service, a SPIFFE trust domain.

    Its public keys are kept in the row, so that every process has them, and one process at a time asks for them.
    """

    class State(models.TextChoices):
        ACTIVE = "active", _("Active")
        RETIRED = "retired", _("Retired")

    name = models.CharField(_("name"), max_length=120)
    issuer = models.CharField(_("issuer"), max_length=400)
    audience = models.CharField(_("audience"), max_length=400)
    jwks_uri = models.CharField(_("address of its keys"), max_length=400, blank=True)
    trust_domain = models.CharField(_("SPIFFE trust domain"), max_length=255, blank=True)
    algorithms = ArrayField(models.CharField(max_length=10), default=all_algorithms)
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)

    keys = models.JSONField(default=list, editable=False)
    keys_at = models.DateTimeField(null=True, editable=False)
    keys_tried_at = models.DateTimeField(null=True, editable=False)
    keys_error = models.CharField(max_length=300, blank=True, editable=False)

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["issuer"], condition=Q(state="active"), name="workload_issuer_once")
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.name


class ServicePrincipal(Record):
    """As what a workload acts: it may do what its scopes allow, of what its owner may do.

    `subject` is exactly the token's `sub`; one that ends in `*` after `:` or `/` stands for all that begin so. `claims`
    are further members of the token that must be equal. `audience` is empty where the issuer's is meant.

    PROPOSED is what somebody else made of it: it acts with its owner's authority, so its owner accepts it first.
    """

    class State(models.TextChoices):
        PROPOSED = "proposed", _("Waits for its owner")
        ACTIVE = "active", _("Active")
        SUSPENDED = "suspended", _("Suspended")
        RETIRED = "retired", _("Retired")

    name = models.CharField(_("name"), max_length=120)
    purpose = models.CharField(_("purpose"), max_length=500)
    owner = models.ForeignKey(User, models.PROTECT, related_name="service_principals")
    team = models.ForeignKey(Team, models.PROTECT, related_name="service_principals", null=True, blank=True)
    issuer = models.ForeignKey(WorkloadIssuer, models.PROTECT, related_name="principals")
    subject = models.CharField(_("subject"), max_length=500)
    audience = models.CharField(_("audience"), max_length=400, blank=True)
    claims = models.JSONField(_("claims"), default=dict, blank=True)
    scopes = ArrayField(models.CharField(max_length=60))
    networks = ArrayField(models.CharField(max_length=43), default=list, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    state_reason = models.CharField(max_length=500, blank=True)
    suspended_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_address = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["issuer", "subject"], condition=~Q(state="retired"), name="service_principal_subject_once"
            ),
            models.UniqueConstraint(
                models.functions.Lower("name"), condition=~Q(state="retired"), name="service_principal_name_once"
            ),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.name
