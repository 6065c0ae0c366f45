from registry.core.permissions import has_role, is_member, permission

permission(
    "audit.view_all",
    has_role("auditor", "security", "administrator"),
    otherwise="Only auditors, security and administrators read the whole audit trail.",
)
permission("audit.view", is_member, otherwise="You need a role to read the audit trail.")
