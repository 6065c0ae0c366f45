"""Recertification: templates, campaigns, items, decisions, sign-offs, remediations, certificates.

A package because one file would pass eight hundred lines; import from here.
"""

from registry.reviews.models.campaigns import Campaign, GapWaiver, PopulationEntry, Trigger
from registry.reviews.models.certificates import Certificate
from registry.reviews.models.decisions import (
    Decision,
    FirstChoice,
    QualityConfirmation,
    QualityVerdict,
    SignOff,
    UnfinishedAnswer,
)
from registry.reviews.models.items import EvidenceBlock, Item, ItemRefresh, WorkItem, WorkItemMove
from registry.reviews.models.ladder import AutomaticAction, LadderStep
from registry.reviews.models.letters import Letter
from registry.reviews.models.packs import AuditPack
from registry.reviews.models.remediation import Challenge, ExceptionRecord, Remediation, Verification
from registry.reviews.models.setup import Delegation, Template, TemplateStage
from registry.reviews.models.subjects import AboutSubject, SubjectKind

__all__ = [
    "AboutSubject",
    "AuditPack",
    "AutomaticAction",
    "Campaign",
    "Certificate",
    "Challenge",
    "Decision",
    "Delegation",
    "EvidenceBlock",
    "ExceptionRecord",
    "FirstChoice",
    "GapWaiver",
    "Item",
    "ItemRefresh",
    "LadderStep",
    "Letter",
    "PopulationEntry",
    "QualityConfirmation",
    "QualityVerdict",
    "Remediation",
    "SignOff",
    "SubjectKind",
    "Template",
    "TemplateStage",
    "Trigger",
    "UnfinishedAnswer",
    "Verification",
    "WorkItem",
    "WorkItemMove",
]
