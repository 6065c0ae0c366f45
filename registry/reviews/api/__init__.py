"""REST resources of reviews, by topic. A package because one file would pass eight hundred lines."""

from registry.reviews.api.campaigns import CampaignViewSet
from registry.reviews.api.decisions import DecisionViewSet
from registry.reviews.api.delegations import DelegationViewSet, ReviewerStatisticsView
from registry.reviews.api.items import ItemViewSet
from registry.reviews.api.ladder import AutomaticActionViewSet, TriggerViewSet
from registry.reviews.api.packs import AuditPackViewSet
from registry.reviews.api.quality import QualityVerdictViewSet
from registry.reviews.api.remediations import ChallengeViewSet, ExceptionViewSet, RemediationViewSet
from registry.reviews.api.results import CertificateViewSet, SignOffViewSet
from registry.reviews.api.templates import TemplateViewSet

routes = [
    ("templates", TemplateViewSet, "template"),
    ("campaigns", CampaignViewSet, "campaign"),
    ("items", ItemViewSet, "item"),
    ("decisions", DecisionViewSet, "decision"),
    ("automatic-actions", AutomaticActionViewSet, "automatic-action"),
    ("review-triggers", TriggerViewSet, "review-trigger"),
    ("quality-verdicts", QualityVerdictViewSet, "quality-verdict"),
    ("audit-packs", AuditPackViewSet, "audit-pack"),
    ("sign-offs", SignOffViewSet, "sign-off"),
    ("remediations", RemediationViewSet, "remediation"),
    ("challenges", ChallengeViewSet, "challenge"),
    ("exceptions", ExceptionViewSet, "exception"),
    ("certificates", CertificateViewSet, "certificate"),
    ("delegations", DelegationViewSet, "delegation"),
    ("reviewer-statistics", ReviewerStatisticsView, "reviewer-statistics"),
]
