from django.utils.translation import gettext_lazy as _

from registry.core.permissions import has_role, is_member, permission
from registry.core.scopes import resource

permission(
    "audit.view_all",
    has_role("auditor", "security", "administrator"),
    otherwise="Only auditors, security and administrators read the whole audit trail.",
)
permission("audit.view", is_member, otherwise="You need a role to read the audit trail.")

permission(
    "audit.rotate_key",
    has_role("administrator"),
    otherwise="Only administrators replace the key that signs the audit log.",
)

resource("audit.events", _("audit events"), routes="event")
resource(
    "audit.log",
    _("checkpoints and keys of the audit log"),
    acts="rotate_key",
    routes="audit-checkpoint audit-keys audit-consistency",
)
