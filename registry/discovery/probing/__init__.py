"""Asking a server over HTTP what it lists and how it guards itself, without any credential.

`probe(url)` takes no database and changes nothing; `registry.discovery.services.probes` keeps what it brings back.
"""

from registry.discovery.probing.look import probe
from registry.discovery.probing.steps import Say, ignore

__all__ = ["Say", "ignore", "probe"]
