#!/bin/sh
# Makes the virtual environment: scripts/venv.sh DIRECTORY PYTHON
# Takes PYTHON if it is new enough, else the newest python3.N on the path. One clear line where something is missing.
set -eu

directory=$1
wanted=$2

new_enough() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

for python in "$wanted" python3.14 python3.13 python3.12 python3.11; do
    if new_enough "$python"; then
        break
    fi
    python=
done
if [ -z "$python" ]; then
    echo "celery-watcher needs Python 3.11 or newer, and finds none: install one, or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi

# Debian and Ubuntu have ensurepip in a package of its own; `venv` alone imports without it, and then fails half-way.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "$python has no venv module; on Debian and Ubuntu: sudo apt-get install python$version-venv" >&2
    exit 1
fi

"$python" -m venv --clear "$directory"
