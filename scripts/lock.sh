#!/bin/sh
# Writes requirements/*.txt anew, with the newest versions that pyproject.toml allows: scripts/lock.sh PYTHON
# One lock for Python 3.11 to 3.14, Linux and macOS; with a hash of each file that may be installed, and no address.
set -eu

python=$1
"$python" -m pip install --quiet --disable-pip-version-check 'uv>=0.5'

compile() {
    UV_CUSTOM_COMPILE_COMMAND="make lock" "$python" -m uv pip compile --quiet --upgrade --universal --python-version 3.11 \
        --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links "$@"
}

compile --extra crypto --extra postgresql pyproject.toml --output-file requirements/image.txt
compile --extra crypto --extra embedded --extra dev pyproject.toml --constraint requirements/image.txt \
    --output-file requirements/dev.txt
compile requirements/build.in --constraint requirements/dev.txt --output-file requirements/build.txt
compile --extra docs pyproject.toml --constraint requirements/dev.txt --output-file requirements/docs.txt
