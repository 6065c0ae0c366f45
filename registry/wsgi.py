"""WSGI entry point for granian."""

import gc
import os
from importlib import import_module

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
application = get_wsgi_application()
# Before the first connection: no statement of a request runs longer than STATEMENT_SECONDS.
import_module("registry.core.statements").limit_statements()
# What is loaded by now stays for good. Looking through it for garbage would hold up a request every now and then, by a
# tenth of a second.
import_module("registry.urls")
gc.collect()
gc.freeze()
# Of what comes after that little lives long: a full collection every thousand requests is enough, not every hundred.
gc.set_threshold(700, 10, 100)
