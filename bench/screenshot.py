"""Takes the README's picture from a running demo: `make bench ARGS="screenshot --url http://127.0.0.1:8000"`."""

import argparse
import json
import os
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

OUT = Path(__file__).resolve().parents[1] / "docs" / "screenshot.png"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench screenshot", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--search", default="warehouse", help="the server whose page is shown")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, base_url=options.url)
        page.goto("/sign-in")
        page.get_by_label("E-mail").fill("owner@example.org")
        page.locator("input[type=password]").fill("steward-demo-only")
        page.locator("input[type=password]").press("Enter")
        page.wait_for_load_state("networkidle")
        page.goto(f"/servers/?q={options.search}")
        page.locator("main a[href^='/servers/']").filter(has_text="oolbox").first.click()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=options.out)
        browser.close()
    print(json.dumps({"bench": "screenshot", "file": str(options.out), "bytes": options.out.stat().st_size}))
