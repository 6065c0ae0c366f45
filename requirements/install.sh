#!/bin/sh
# Bring .venv up to date with one requirements file. Usage: sh requirements/install.sh runtime|dev
# Needs Python 3.11 or newer; every package is a wheel pinned by hash, so no compiler is needed.
set -u
cd "$(dirname "$0")/.." || exit 1
wanted="requirements/$1.txt"
venv=.venv
stamp="$venv/.installed-$1"

fail() {
    printf '\n' >&2
    printf '%s\n' "$@" >&2
    exit 1
}

# A name on the PATH is not yet a Python that starts, so each is asked.
find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
}

# The file was installed already: this is the usual case and takes no time.
if [ -f "$stamp" ] && cmp -s "$wanted" "$stamp" && "$venv/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$(find_python)
    [ -n "$python" ] || fail "Python 3.11 or newer is needed; found: $(${PYTHON:-python3} --version 2>&1 | head -n 1)." \
        "Install one, or name it: make run PYTHON=/path/to/python3.12"
    if ! (mkdir -p "$venv" && : >"$venv/.writable" && rm -f "$venv/.writable") 2>/dev/null; then
        fail "This folder cannot be written: $(pwd)" "Clone the repository to a folder of yours and try again."
    fi
    echo "Creating a virtual environment with $("$python" --version) …"
    if ! message=$("$python" -m venv --clear "$venv" 2>&1); then
        rm -rf "$venv"
        case $message in
            *ensurepip* | *"No module named venv"*)
                fail "This Python comes without its venv module. On Debian or Ubuntu: apt install python3-venv" ;;
            *) fail "$message" "The virtual environment could not be created." ;;
        esac
    fi
fi

if [ ! -w "$venv" ]; then
    fail "The folder $(pwd)/$venv cannot be written by this account." "Remove it, or clone to a folder of yours."
fi
echo "Installing dependencies from $wanted (a minute or two, once) …"
rm -f "$stamp"
if ! "$venv/bin/python" -m pip install --quiet --quiet --no-input --disable-pip-version-check --no-deps --require-hashes \
    --only-binary :all: -r "$wanted"; then
    fail "The dependencies could not be installed; pip says why above." \
        "No network? pip needs its package index once. No wheel for this system? Linux (x86-64, arm64) and macOS have them."
fi
cp "$wanted" "$stamp"
