"""Acts on the catalog, by what they act on. Callers import them from here."""

from registry.catalog.services.conclusions import (
    admit_viewers,
    override_tier,
    set_certified_until,
    set_tier,
)
from registry.catalog.services.estate import (
    register_agent,
    register_issuer,
    register_system,
    retire_agent,
    retire_issuer,
    retire_system,
    update_agent,
    update_system,
)
from registry.catalog.services.facts import (
    EndpointFacts,
    ImportOutcome,
    InputFacts,
    SecretSourceFacts,
    StepFacts,
    ToolFacts,
    canonical_uri,
    canonical_url,
    tool_digest,
)
from registry.catalog.services.identity import (
    MAX_PURPOSE_DAYS,
    accept_ownership,
    assign_people,
    register_server,
    set_purpose,
    update_identity,
)
from registry.catalog.services.imports import (
    import_server,
)
from registry.catalog.services.lifecycle import (
    activate_server,
    resume_server,
    retire_server,
    return_server,
    submit_server,
    suspend_server,
    withdraw_server,
)
from registry.catalog.services.parts import (
    approve_tools,
    set_endpoints,
    set_revocation_path,
    set_secret_sources,
    set_tools,
)

__all__ = [
    "MAX_PURPOSE_DAYS",
    "EndpointFacts",
    "ImportOutcome",
    "InputFacts",
    "SecretSourceFacts",
    "StepFacts",
    "ToolFacts",
    "accept_ownership",
    "activate_server",
    "admit_viewers",
    "approve_tools",
    "assign_people",
    "canonical_uri",
    "canonical_url",
    "import_server",
    "override_tier",
    "register_agent",
    "register_issuer",
    "register_server",
    "register_system",
    "resume_server",
    "retire_agent",
    "retire_issuer",
    "retire_server",
    "retire_system",
    "return_server",
    "set_certified_until",
    "set_endpoints",
    "set_purpose",
    "set_revocation_path",
    "set_secret_sources",
    "set_tier",
    "set_tools",
    "submit_server",
    "suspend_server",
    "tool_digest",
    "update_agent",
    "update_identity",
    "update_system",
    "withdraw_server",
]
