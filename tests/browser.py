"""What tests of pages do that Playwright has no word for."""

from playwright.sync_api import Page


def press(page: Page, key: str) -> None:
    """Presses `key` once the page listens: its text is there before the scripts that know its keys have run."""
    page.wait_for_load_state("domcontentloaded")
    page.keyboard.press(key)
