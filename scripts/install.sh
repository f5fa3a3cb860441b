#!/bin/sh
# Installs celery-watcher and what its tests need: scripts/install.sh PYTHON
# The versions of requirements/dev.txt, each file checked by its hash. Where the lock doesn't cover this Python or this
# system, what pyproject.toml allows, and says so; with LOCKED=1, as in continuous integration, that is an error.
set -eu

python=$1
install() {
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

if install --no-compile --require-hashes -r requirements/dev.txt -r requirements/build.txt; then
    # By all processors: pip compiles one file after the other. What can't be compiled is for another Python.
    "$python" -m compileall -qq -j 0 "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || :
    install --no-deps --no-build-isolation -e .
elif [ "${LOCKED:-}" = 1 ]; then
    echo "requirements/dev.txt can't be installed as it is locked (see above); 'make lock' makes it anew" >&2
    exit 1
else
    echo "requirements/dev.txt doesn't cover this Python or system (see above): installing what pyproject.toml allows" >&2
    install -e '.[embedded,dev]'
fi
