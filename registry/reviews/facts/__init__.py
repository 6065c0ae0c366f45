"""What a reviewer decides on: the material facts of a subject, and what surrounds them. Defined once, in SQL.

A package because reading, freezing and the statements themselves are three topics; import from here.
"""

from registry.reviews.facts.composition import Json, compose
from registry.reviews.facts.evidence import ACCESS_LADDER, Evidence, collect, evidence_of, reducible
from registry.reviews.facts.freezing import FOR_MANY, freeze, frozen_select, keep_blocks, write_blocks
from registry.reviews.facts.subjects import KINDS, evidence_select, fingerprint_select

__all__ = [
    "ACCESS_LADDER",
    "FOR_MANY",
    "KINDS",
    "Evidence",
    "Json",
    "collect",
    "compose",
    "evidence_of",
    "evidence_select",
    "fingerprint_select",
    "freeze",
    "frozen_select",
    "keep_blocks",
    "reducible",
    "write_blocks",
]
