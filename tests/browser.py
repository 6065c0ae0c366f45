"""What tests of pages do that Playwright has no word for."""

import time
from typing import Any
from weakref import WeakKeyDictionary

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_asked: WeakKeyDictionary[Page, set[Any]] = WeakKeyDictionary()
"""What each page waits for an answer to."""
_AXE = Axe().axe_script


def press(page: Page, key: str) -> None:
    """Presses `key` once the page listens: its text is there before the scripts that know its keys have run."""
    page.wait_for_load_state("domcontentloaded")
    page.keyboard.press(key)


def watch_requests(page: Page) -> None:
    asked: set[Any] = set()
    _asked[page] = asked
    page.on("request", lambda request: asked.add(request))
    for end in ("requestfinished", "requestfailed"):
        page.on(end, lambda request: asked.discard(request))


def settled(page: Page, within: float = 20) -> None:
    """Until scripts have run and nothing they asked for is on its way; "networkidle" waits half a second longer."""
    page.wait_for_load_state("load")
    quiet, deadline = 0, time.monotonic() + within
    while quiet < 3:
        assert time.monotonic() < deadline, f"still waits for {[each.url for each in _asked[page]]}"
        page.evaluate("new Promise(done => requestIdleCallback(() => setTimeout(done, 20), {timeout: 1000}))")
        quiet = 0 if _asked[page] else quiet + 1


def violations(page: Page, outside: str | None = None) -> list[str]:
    """What axe finds on the page as it is now, apart from what lies in `outside`."""
    if not page.evaluate("'axe' in window"):  # a second look at the same page need not bring it again
        page.evaluate(_AXE)
    found = page.evaluate(
        "where => axe.run(where, {resultTypes: ['violations']}).then(results => results.violations)",
        {"exclude": [[outside]]} if outside else {"include": [["html"]]},
    )
    return [f"{each['id']}: {each['nodes'][0]['html'][:160]}" for each in found]
