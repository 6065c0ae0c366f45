"""What an installation begins with: the toxic combination everybody should look for. Security may change it."""

from typing import Any

from django.db import connections

from registry.trust.models import Combination

LETHAL_TRIFECTA: dict[str, Any] = {
    "name": "Lethal trifecta",
    "explanation": (
        "An agent that reads what strangers wrote, reads sensitive data and can write to the outside can be talked "
        "into carrying that data out. Each alone is harmless; take away one of the three."
    ),
    "legs": [
        {
            "label": "reads what strangers wrote",
            "system_kinds": ["ticketing", "messaging", "web"],
            "open_world": True,
        },
        {"label": "reads sensitive data", "data_classes": ["confidential", "restricted"]},
        {
            "label": "writes to the outside",
            "tool_classes": ["write", "destructive", "execute"],
            "system_kinds": ["messaging", "saas", "web"],
            "access": ["write", "admin"],
        },
    ],
}


def lay_combinations(*, using: str, **_signal: Any) -> None:
    """After migrating: only where there never was a combination, so that nothing retired or changed comes back."""
    if Combination._meta.db_table not in connections[using].introspection.table_names():
        return
    if not Combination.objects.using(using).exists():
        Combination.objects.using(using).bulk_create([Combination(**LETHAL_TRIFECTA)])
