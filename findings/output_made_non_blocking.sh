#!/bin/sh
# uvloop 0.23.0 makes whatever add_reader() waits for non-blocking, and so for every other program that has the same pipe.
# asyncio's own loops leave it as it is.
#
# A program that watches its standard output, to end when `| head` has left, then loses what it prints once the reader is
# slower than the program. So does whatever is started with the same output after it, since the flag is the pipe's and
# stays when the first program has ended. (libuv says of uv_poll_init that it sets the flag; uvloop doesn't of add_reader.)
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check uvloop==0.23.0

cat > "$folder/first.py" << 'PYTHON'
import asyncio, sys
import uvloop

async def main():
    loop = asyncio.get_running_loop()
    loop.add_reader(1, lambda: None)  # "readable" is how it shows that the reader of a pipe has left
    await asyncio.sleep(0)
    loop.remove_reader(1)

loop = uvloop.new_event_loop() if sys.argv[1] == "uvloop" else asyncio.new_event_loop()
loop.run_until_complete(main())
PYTHON
head -c 1000000 /dev/zero > "$folder/much"

for loop in asyncio uvloop; do
    {
        "$folder/venv/bin/python" "$folder/first.py" "$loop"
        cat "$folder/much" 2> "$folder/said" || true
    } | {
        sleep 1 # a slow reader
        wc -c | tr -d ' ' > "$folder/$loop"
    }
    echo "$loop: of 1000000 bytes that cat wrote next, $(cat "$folder/$loop") arrived; cat said: $(cat "$folder/said")"
done

if [ "$(cat "$folder/asyncio")" != 1000000 ] || [ "$(cat "$folder/uvloop")" -ge 1000000 ]; then
    echo "changed: with asyncio all arrived, with uvloop only what the pipe held" >&2
    exit 1
fi
echo "as found: with uvloop the pipe stays non-blocking, and what is written to it is lost"
