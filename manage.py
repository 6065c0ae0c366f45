#!/usr/bin/env python
"""Command line of the registry: `manage.py help` lists what operators and CI can do."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Steward cannot start: {error}")
    except OperationalError as error:
        sys.exit(f"Steward cannot reach its database: {str(error).strip().splitlines()[0]}")
