#!/bin/sh
# With mkdocs 1.6.1 `mkdocs build --strict` fails where a page links to one that isn't there, and `mkdocs build --strict
# --quiet` succeeds: what --quiet doesn't print, --strict doesn't count.
#
# A check in continuous integration that is told to be quiet finds no broken link.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check mkdocs==1.6.1
mkdir docs
echo "site_name: Example" > mkdocs.yml
echo "[a page](missing.md)" > docs/index.md

strict=0 both=0
venv/bin/mkdocs build --strict > strict.log 2>&1 || strict=$?
venv/bin/mkdocs build --strict --quiet > both.log 2>&1 || both=$?
venv/bin/mkdocs --version | sed "s/ from.*//"
echo "--strict: exit code $strict, $(grep -c "missing.md" strict.log || true) line(s) about the link"
echo "--strict --quiet: exit code $both, $(grep -c "missing.md" both.log || true) line(s) about the link"

if [ "$strict" = 1 ] && [ "$both" = 0 ]; then
    echo "as found: with --quiet a broken link is no error"
else
    echo "changed: it was 1 with --strict, and 0 with --strict --quiet" >&2
    exit 1
fi
