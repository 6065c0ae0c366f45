#!/bin/sh
# Does a pinned dependency have a known weakness? Exit 1: yes, each is printed. Exit 0: none known, or nobody could be
# asked, which is said loudly. AUDIT_STRICT=1 makes the second a failure too. AUDIT_OSV_URL asks a mirror of OSV instead:
# https://osv.example.org/v1/query
set -u
cd "$(dirname "$0")/.." || exit 1
tool=var/audit
found="$tool/found.json"

skip() {
    printf '\n%s\n' "!!! DEPENDENCIES WERE NOT AUDITED: $1" >&2
    printf '%s\n\n' "!!! Run 'make audit' where the advisory service (OSV) can be reached before you release." >&2
    [ "${AUDIT_STRICT:-0}" = 1 ] && exit 1
    exit 0
}

if [ ! -x "$tool/bin/pip-audit" ]; then
    { .venv/bin/python -m venv "$tool" && timeout 60 "$tool/bin/python" -m pip install --quiet --quiet --no-input \
        --disable-pip-version-check --only-binary :all: 'pip-audit>=2.10,<3'; } >/dev/null 2>&1 ||
        skip "pip-audit could not be installed"
fi
rm -f "$found"
timeout 60 "$tool/bin/pip-audit" --vulnerability-service osv ${AUDIT_OSV_URL:+--osv-url "$AUDIT_OSV_URL"} \
    --disable-pip --require-hashes --progress-spinner off --timeout 10 --format json \
    --output "$found" -r requirements/runtime.txt >"$tool/log" 2>&1
[ -s "$found" ] || skip "$(tail -n 1 "$tool/log" | cut -c 1-200)"
.venv/bin/python requirements/weaknesses.py "$found"
