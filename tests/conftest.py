"""What every test may use: a signed-in client, a REST client, a browser that watches itself, a real worker.

The database is the embedded PostgreSQL of STEWARD_VAR (or DATABASE_URL); each xdist process has its own database.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import TransactionTestCase

from tests.kept import closed, opened, refuse_both, refuse_within

# Tests sign people in by the hundred, serve files from where they lie, and talk to no broker unless they ask for one.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
settings.STORAGES = {
    **settings.STORAGES,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# The live server looks for this very name, and without it serves what `make run` collected some time ago.
settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.staticfiles"]
# Tests come by the thousand from one address; those of limits set their own.
settings.RATE_LIMITS = {}
settings.CELERY_BROKER_URL = "memory://"
settings.CELERY_BROKER_TRANSPORT_OPTIONS = {}
# A thread of the live server that kept its connection would keep the test database from being dropped.
settings.DATABASES["default"]["CONN_MAX_AGE"] = 0
settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_sessionstart(session: pytest.Session) -> None:
    """The test server may forget everything after a crash; that saves a third of the time."""
    if not settings.EMBEDDED or hasattr(session.config, "workerinput") or settings.VAR_DIR == ROOT / "var":
        return
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {name} = off")
        connection.execute("SELECT pg_reload_conf()")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is imported by now stays for good: collecting garbage in it again and again took a sixth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture
def prompt_collector() -> Iterator[None]:
    """For tests that measure memory: garbage is collected as soon as in the product."""
    patient = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*patient)


# --- The database between transactional tests --------------------------------------------------------------


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker) -> None:
    """Also keeps the rows that a migrated database begins with, for `_empty_tables`."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS first_rows CASCADE; CREATE SCHEMA first_rows")
        for table in connection.introspection.django_table_names(only_existing=True, include_views=False):
            cursor.execute(f"""
                DO $$ BEGIN
                    IF EXISTS (SELECT FROM "{table}") THEN CREATE TABLE first_rows."{table}" AS TABLE "{table}"; END IF;
                END $$
            """)


MANY_BYTES = 1 << 20
"""A table that grew beyond this is truncated, so that later tests do not read what is dead in it."""
EMPTY = f"""
DO $$
DECLARE
    filled regclass;
    kept text;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR filled IN
        SELECT oid FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'django_migrations'
            AND pg_relation_size(oid) BETWEEN 1 AND {MANY_BYTES}
    LOOP
        EXECUTE format('DELETE FROM %s', filled);
    END LOOP;
    FOR kept IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'first_rows'::regnamespace LOOP
        EXECUTE format('INSERT INTO public.%I SELECT * FROM first_rows.%I', kept, kept);
    END LOOP;
END
$$
"""  # noqa: S608 - our own words
_flush = TransactionTestCase._fixture_teardown


def _empty_tables(case: TransactionTestCase) -> None:
    """What `flush` does, without a new file for each of hundreds of tables and indexes: a hundredth of the time."""
    from django.contrib.contenttypes.models import ContentType

    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT has_parameter_privilege('session_replication_role', 'SET'), EXISTS (
                SELECT FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                    AND pg_relation_size(oid) > %s)
            """,
            [MANY_BYTES],
        )
        may_delete, large = cursor.fetchone()
    if large or not may_delete:
        _flush(case)
    if may_delete:
        with connection.cursor() as cursor:
            cursor.execute(EMPTY)
        if large:
            ContentType.objects.clear_cache()  # `flush` made them anew, with other numbers


TransactionTestCase._fixture_teardown = _empty_tables  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def kept(request, django_db_setup, django_db_blocker) -> Iterator[None]:
    """What module-wide fixtures write stays for all tests of a module that ask for it, and each undoes its own.

    Tests of the module that do without come first (see `pytest_collection_modifyitems`) and see nothing of it.
    Transactional ones are refused while it is open.
    """
    module = request.node.nodeid
    with django_db_blocker.unblock(), transaction.atomic():
        opened(module)
        yield
        closed(module)
        transaction.set_rollback(True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    refuse_within(item)


# --- Clients -----------------------------------------------------------------------------------------------


@pytest.fixture
def web(db):
    """`web(user)` is Django's test client, signed in as `user`; `web()` is anonymous."""
    from django.test import Client

    def client(user=None, **defaults):
        made = Client(**defaults)
        if user is not None:
            made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return made

    return client


@pytest.fixture
def api(db):
    """`api(user, "trust:read")` is a JSON client with a token of these scopes (default: all); `api()` has none."""
    from rest_framework.test import APIClient

    from tests.factories import token_for

    def client(user=None, *scopes: str):
        made = APIClient()
        made.default_format = "json"
        if user is not None:
            made.credentials(HTTP_AUTHORIZATION=f"Bearer {token_for(user, *scopes)}")
        return made

    return client


# --- Browser -----------------------------------------------------------------------------------------------


def chromium() -> str | None:
    """The installed browser: CHROMIUM, one on the PATH, or the one Playwright fetched."""
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    candidates = [os.environ.get("CHROMIUM", ""), *(shutil.which(name) or "" for name in names)]
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache" / "ms-playwright"))
    candidates += [str(path) for path in sorted(cache.glob("chromium-*/chrome-*/chrome"))]
    return next((path for path in candidates if path and Path(path).exists()), None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What opens a browser is marked, so that it can be left out by name: `-m "not browser"`.

    Files that open browsers or start processes come first: one that began last would keep a single process busy.
    """
    refuse_both(items)
    slow, sizes = set(), Counter(item.path for item in items)
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker(pytest.mark.browser)
        if not {"browser", "idle_worker", "installation"}.isdisjoint(fixtures):
            slow.add(item.path)
    items.sort(
        key=lambda item: (
            item.path not in slow, -sizes[item.path], item.path, "kept" in getattr(item, "fixturenames", ()),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """One Chromium per module. Playwright keeps an event loop in this thread, which Django must be told to accept."""
    from playwright.sync_api import sync_playwright

    installed = chromium()
    if installed is None:
        pytest.fail('no Chromium is installed: set CHROMIUM to its path, or leave these out with -m "not browser"')
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            opened = playwright.chromium.launch(executable_path=installed, args=CHROMIUM_FLAGS)
            yield opened
            opened.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def _wait_for_requests() -> None:
    """Until the server has answered what closed pages asked for: it must not meet the emptying of the tables."""
    busy = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    deadline = time.monotonic() + 10
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute(busy)
            quiet = quiet + 1 if cursor.fetchone()[0] == 0 else 0
        time.sleep(0.02)


@pytest.fixture
def new_page(browser, live_server) -> Iterator[Callable[..., object]]:
    """`new_page(user)` opens a page with a session of its own, signed in as `user`.

    The test fails when a page logs an error, violates the content security policy, or asks for something that
    answers 5xx or is a missing file. A 4xx answer to a person's act is not an error of the page.
    """
    from django.test import Client

    from tests.browser import watch_requests

    troubles: list[str] = []
    contexts = []

    def watch(page) -> None:
        watch_requests(page)

        def on_console(message) -> None:
            if message.type == "error" and not message.text.startswith("Failed to load resource"):
                troubles.append(f"console: {message.text}")

        def on_response(response) -> None:
            missing_file = response.status >= 400 and "/static/" in response.url
            if response.status >= 500 or missing_file:
                troubles.append(f"{response.status} {response.url}")

        page.on("console", on_console)
        page.on("pageerror", lambda error: troubles.append(f"script: {error}"))
        page.on("response", on_response)

    def open_page(user=None, **options):
        options = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", **options}
        context = browser.new_context(base_url=live_server.url, **options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        if user is not None:
            client = Client()
            client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
            value = client.cookies[settings.SESSION_COOKIE_NAME].value
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": value, "url": live_server.url}])
        context.on("page", watch)
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()
    _wait_for_requests()
    assert not troubles, "\n".join(troubles)


@pytest.fixture
def page(new_page):
    """One anonymous page; see `new_page`."""
    return new_page()


# --- Worker ------------------------------------------------------------------------------------------------


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Worker:
    """A real Celery worker in a process of its own, on the test database and a broker in a temporary folder."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.log = folder / "worker.log"
        self.parent: subprocess.Popen[bytes] | None = None
        self.parent_environment: dict[str, str] = {}
        self.pid: int | None = None
        self.environment = {
            **os.environ,
            "STEWARD_VAR": str(folder),
            "STEWARD_PROFILE": "embedded",
            "DATABASE_URL": database_url,
        }

    def start(self) -> None:
        before = self.log.stat().st_size if self.log.exists() else 0
        if self.parent is None or self.parent_environment != self.environment:
            self._prepare()
        self.parent.stdin.write(b"start\n")
        self.parent.stdin.flush()
        self.pid = int(self.parent.stdout.readline() or self._never_came())
        self.wait_for(lambda: b" ready." in self.log.read_bytes()[before:], "the worker to be ready", within=60)

    def _prepare(self) -> None:
        """Import everything once, however often this worker starts."""
        self._dismiss()
        with self.log.open("ab") as log:
            self.parent = subprocess.Popen(
                [sys.executable, "-m", "tests.ready_worker"],
                cwd=ROOT, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.parent_environment = dict(self.environment)

    def _never_came(self) -> NoReturn:
        raise AssertionError(f"the worker could not be imported:\n{self.log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """As a power cut would."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            while _lives(self.pid):
                time.sleep(0.005)
            self.pid = None

    def leave(self) -> None:
        """At the end of a test: nothing of it is left, and the database has heard of that."""
        self.kill()
        self._dismiss()
        _wait_for_requests()

    def _dismiss(self) -> None:
        if self.parent is not None:
            self.parent.kill()
            self.parent.communicate()
            self.parent = None

    def wait_for(self, condition: Callable[[], object], what: str = "it", within: float = 30) -> object:
        """Poll `condition` until it is truthy and return its value; fail with the end of the log."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.05)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
        raise AssertionError(f"waited {within} s for {what}; the worker said:\n{tail}")


@pytest.fixture
def idle_worker(transactional_db, tmp_path) -> Iterator[Worker]:
    """A worker that is not started yet; tasks that are sent meanwhile wait for it."""
    import kombu.pools
    from celery import current_app
    from django.db import connection
    from kombu import pools

    parts = urlsplit(settings.DATABASE_URL)
    made = Worker(tmp_path, urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}")))
    messages, control = tmp_path / "broker" / "messages", tmp_path / "broker" / "control"
    for folder in (messages, control):
        folder.mkdir(parents=True)
    options = {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "control_folder": str(control),
        "polling_interval": 0.2,
    }
    before = (current_app.conf.broker_url, current_app.conf.broker_transport_options)

    def use(url: str, transport_options: dict[str, object]) -> None:
        # Asking for `current_app.pool` here would make the new broker's pool only to close it for good.
        kombu.pools.reset()
        current_app.conf.update(broker_url=url, broker_transport_options=transport_options)
        current_app.conf.broker_read_url = current_app.conf.broker_write_url = url
        pools.reset()
        current_app._pool = current_app.amqp._producer_pool = None

    use("filesystem://localhost", options)
    try:
        yield made
    finally:
        made.leave()
        use(*before)


@pytest.fixture
def worker(idle_worker: Worker) -> Worker:
    """A running worker; `worker.kill()` and `worker.start()` as the test needs."""
    idle_worker.start()
    return idle_worker


@pytest.fixture
def at_once(monkeypatch, django_capture_on_commit_callbacks) -> Callable[[Callable[[], Any]], Any]:
    """Runs an act with every task that its events start, as workers would, one after the other."""
    waiting: list[tuple[Any, dict[str, Any]]] = []

    def later(task: Any, given: dict[str, Any]) -> None:
        waiting.append((task, given))

    for room in ("accounts", "catalog", "discovery", "trust", "reviews"):
        for task in vars(import_module(f"registry.{room}.tasks")).values():
            if hasattr(task, "delay") and hasattr(task, "apply_async"):
                monkeypatch.setattr(task, "delay", lambda task=task, **given: later(task, given))
                monkeypatch.setattr(task, "apply_async", lambda task=task, kwargs=None, **_: later(task, kwargs or {}))

    def run(act: Callable[[], Any]) -> Any:
        with django_capture_on_commit_callbacks(execute=True):
            answer = act()
        for _ in range(200):
            if not waiting:
                return answer
            task, given = waiting.pop(0)
            with django_capture_on_commit_callbacks(execute=True):
                task(**given)
        raise AssertionError("it goes round in a circle")

    return run
