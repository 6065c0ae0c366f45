#!/bin/sh
# Get a Chromium for the browser tests where this system allows it. Never fails itself:
# without one the tests that need it fail and say so.
cd "$(dirname "$0")/.." || exit 0
for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome-stable google-chrome; do
    if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done
ls "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}"/chromium-*/chrome-*/chrome >/dev/null 2>&1 && exit 0

echo "Looking for a Chromium for the browser tests …"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
        >/dev/null 2>&1 </dev/null && exit 0
fi
timeout 300 .venv/bin/python -m playwright install chromium >/dev/null 2>&1 </dev/null || echo "None could be installed."
exit 0
