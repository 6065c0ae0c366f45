"""Another installation of this very registry: a process of its own, with its own database, on a real port.

Run as a script by `test_registries`. Serves in a thread, and does what it is told on standard input, one JSON line
after the other: `{"do": "publish", "number": 230}`, `{"do": "release", "name": …, "release": …}`,
`{"do": "withdraw", "names": […]}`. Each is answered with a line of JSON.
"""

import json
import logging
import os
import sys
import threading
from datetime import timedelta
from typing import Any


def act(told: dict[str, Any]) -> None:
    from bench.population import many_servers
    from registry.catalog.models import Server
    from registry.core import clock
    from registry.core.actors import Actor
    from registry.discovery import services

    if told["do"] == "publish":
        many_servers(told["number"])
        Server.objects.update(certified_until=clock.now() + timedelta(days=30), release="1.0.0")
    elif told["do"] == "release":
        Server.objects.filter(name=told["name"]).update(release=told["release"], version=99)
    else:
        Server.objects.filter(name__in=told["names"]).update(certified_until=None)
    services.sweep_publications(actor=Actor.system("upstream"))


def _say(word: str) -> None:
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


def main(port: int) -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "registry.settings"
    django.setup()
    logging.disable(logging.ERROR)
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadedWSGIServer(("127.0.0.1", port), Quiet)
    server.set_app(get_wsgi_application())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _say("ready")
    for line in sys.stdin:
        act(json.loads(line))
        _say("done")


if __name__ == "__main__":
    main(int(sys.argv[1]))
