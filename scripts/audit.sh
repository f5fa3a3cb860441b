#!/bin/sh
# Asks a service what is known of the locked versions: scripts/audit.sh PIP_AUDIT [ARGUMENT…]
# It ends with 0 where nothing is known against them, with 1 where something is (listed on standard output), and with 2
# where the service can't be asked, or knows nothing of one of them: then nothing was learned.
set -u

audit=$1
shift
said=$(mktemp)
trap 'rm -f "$said"' EXIT
found=$("$audit" --strict --disable-pip --require-hashes --progress-spinner off -r requirements/image.txt \
    -r requirements/dev.txt -r requirements/build.txt -r requirements/docs.txt "$@" 2>"$said")
code=$?
if [ "$code" -eq 0 ]; then
    echo "audit: nothing is known against the locked versions" >&2
elif [ -n "$found" ]; then
    printf '%s\n' "$found"
    echo "audit: holes are known in the locked versions; 'make lock' takes newer ones" >&2
    code=1
else
    tail -n 1 "$said" >&2 # of a traceback the reason
    echo "audit: nothing was learned: the service was not reached, or doesn't know all versions (ARGS='-s osv': another one)" >&2
    code=2
fi
exit "$code"
