"""REST resources of reviews, by topic. A package because one file would pass eight hundred lines."""

from registry.reviews.api.campaigns import CampaignViewSet
from registry.reviews.api.decisions import DecisionViewSet
from registry.reviews.api.items import ItemViewSet
from registry.reviews.api.results import CertificateViewSet, RemediationViewSet, SignOffViewSet
from registry.reviews.api.templates import TemplateViewSet

routes = [
    ("templates", TemplateViewSet, "template"),
    ("campaigns", CampaignViewSet, "campaign"),
    ("items", ItemViewSet, "item"),
    ("decisions", DecisionViewSet, "decision"),
    ("sign-offs", SignOffViewSet, "sign-off"),
    ("remediations", RemediationViewSet, "remediation"),
    ("certificates", CertificateViewSet, "certificate"),
]
