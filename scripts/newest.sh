#!/bin/sh
# Runs tests with the newest releases that pip finds, pre-releases too: scripts/newest.sh PYTHON DIRECTORY [OF PYTEST…]
# In an environment of its own, DIRECTORY, brought up to date each time. First it says what isn't as it is locked.
# It ends as pytest does, and with 9 where the releases can't be installed together.
set -eu

python=$1
directory=$2
shift 2

test -x "$directory/bin/python" || "$python" -m venv "$directory"
echo "installing the newest releases into $directory …" >&2
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check --pre --upgrade --upgrade-strategy eager \
    -e '.[embedded,dev]' || exit 9

locked=$(sed -n 's/^\([a-z0-9.-]*\)==\([^ ;]*\).*/\1==\2/p' requirements/dev.txt)
echo "not as locked:" >&2
"$directory/bin/python" -m pip list --format=freeze --disable-pip-version-check --exclude celery-watcher --exclude pip \
    --exclude setuptools | tr 'A-Z_' 'a-z-' | grep -vxF "$locked" >&2 || echo "nothing: the newest are locked" >&2

CHROME=$("$directory/bin/python" -m tests.support.chromium)
export CHROME
exec "$directory/bin/python" -m pytest "$@"
