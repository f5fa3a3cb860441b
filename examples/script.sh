#!/usr/bin/env bash
# Celery from a shell script: hand in work, wait for results, watch. It needs a relay, as `make run` starts it;
# WATCHER_URL names another one, WATCHER_TOKEN holds a token where it wants one.
set -euo pipefail
relay=${WATCHER_URL:-http://127.0.0.1:5556}
run=nightly-$(date +%s)-$$

# One task: the result goes to standard output, all else to standard error, and the exit code tells how it ended.
sum=$(watcher submit tasks.add 20 22)
echo "sum: $sum"

# A failure is code 1, so it can be asked for like that of any other command; 3 is a relay that can't be reached, 4 a
# task or an argument that it refuses, 124 a time-out.
if ! watcher submit tasks.fail 'no such customer' 2> /dev/null; then
  echo "failed, as expected"
fi

# Many: a JSON array of arguments for each line, over one connection; results in the same order.
echo "words:" $(printf '["%s"]\n' "one" "two words" "three words here" | watcher submit tasks.word_count -)

# Send without waiting, and watch what was sent by a tag. Watching tasks by their id ends when they have ended; --json
# gives events as they are, for jq and the like.
ids=$(seq 3 | sed 's/.*/[&]/' | watcher submit tasks.test - --no-wait --tag "$run")
echo "ended:" $(watcher watch $ids --json | grep -c '"state":"SUCCESS"')

# Without the command, on a machine that has curl: the same over HTTP. With Prefer: wait the answer comes when the task
# has ended. The key makes it safe to repeat: the task is sent once, however often curl tries.
curl --silent --show-error --fail-with-body --retry 5 "$relay/api/tasks" \
  ${WATCHER_TOKEN:+-H "Authorization: Bearer $WATCHER_TOKEN"} \
  -H 'Content-Type: application/json' -H 'Prefer: wait=30' -H "Idempotency-Key: $run" \
  -d '{"task": "tasks.add", "args": [1, 2], "options": {"task_id": "'"$run"'"}}' > /dev/null
echo "curl: $(curl --silent --fail-with-body ${WATCHER_TOKEN:+-H "Authorization: Bearer $WATCHER_TOKEN"} "$relay/api/tasks/$run/result")"
