"""Whoever gives the registry an address does not choose what it asks.

Every door that takes an address is given one of a listener on this machine, as an insider would who wants to reach
what only the registry's host reaches. The listener hears of none.
The outbound door itself: tests/core/test_outbound.py.
"""

import ast
from pathlib import Path

import pytest

from registry.accounts.models import WorkloadIssuer
from registry.accounts.openid.configuration import Provider
from registry.accounts.openid.errors import ProviderFailed
from registry.accounts.openid.metadata import forget, metadata_of
from registry.accounts.services import refresh_issuer_keys
from registry.audit.services import anchoring
from registry.core import outbound
from registry.discovery import services as discovery
from registry.discovery.models import Probe
from tests import factories as make
from tests.listeners import Told, http

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2] / "registry"


@pytest.fixture
def inside():
    """A service on this machine that nobody should reach through us."""
    with http(lambda _asked: Told(body=b'{"servers": [], "keys": []}')) as listener:
        yield listener


def test_an_endpoint(inside):
    server = make.active_server(endpoints=[{"transport": "streamable-http", "url": inside.url()}])
    probe = discovery.request_probe(actor=make.acting(server.owner), server=server)
    discovery.run_probe(probe_id=probe.pk)
    assert Probe.objects.get(pk=probe.pk).finished_at is not None
    assert inside.connections == 0


def test_a_registry_that_is_followed(inside):
    by = make.acting(make.person("security"))
    try:
        source = discovery.follow_registry(actor=by, name="Partner", base_url=inside.url())
    except Exception as refused:
        assert "base_url" in getattr(refused, "fields", {}), refused
    else:
        discovery.run_sync(source_id=source.pk)
    assert inside.connections == 0


def test_an_issuer_of_workloads_and_its_keys(inside):
    issuer = make.workload_issuer()
    # Past the form, as a change of the table would be.
    WorkloadIssuer.objects.filter(pk=issuer.pk).update(issuer=inside.url(), jwks_uri=inside.url("/keys"))
    issuer.refresh_from_db()
    assert not refresh_issuer_keys(actor=make.acting(make.person("security")), issuer=issuer)
    assert issuer.keys_error and inside.connections == 0


def test_a_provider_of_sign_in(inside):
    forget()
    with pytest.raises(ProviderFailed):
        metadata_of(Provider(name="inside", issuer=inside.url(), client_id="x"))
    assert inside.connections == 0


def test_the_anchor_of_the_audit_log(inside, settings):
    settings.AUDIT_ANCHOR_URL = inside.url()
    with pytest.raises(outbound.Refused):
        anchoring._post("a checkpoint")
    assert inside.connections == 0


def test_nothing_else_opens_connections():
    """Stores of secrets ask with the clients of their makers, at addresses of the operator; the rest has one door."""
    clients = {"httpx2", "httpx", "requests", "aiohttp", "urllib.request", "http.client", "socket", "urllib3"}
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if clients & set(names):
                found.add(str(path.relative_to(ROOT)))
    assert found == {
        "core/outbound.py",
        "discovery/management/commands/probe_stdio.py",  # on the operator's own machine, by hand
        "portal/demo/discovered.py",  # answers made of its own data
        "portal/management/commands/serve.py",  # asks its own port whether it is up
    }
