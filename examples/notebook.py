"""Celery from a notebook: each cell, from `# %%` to the next, runs in Jupyter, VS Code or Spyder, or all by `python`.

It needs a relay, as `make run` starts it; WATCHER_URL names another one. A notebook has an event loop of its own, so
there `async with watcher.connect() as relay` and `await` work in a cell as well.
"""

# %% One connection for all cells. It comes back by itself, after a restart of the relay too.
from contextlib import ExitStack

import watcher

notebook = ExitStack()  # a `with` block can't reach from one cell to the next
relay = notebook.enter_context(watcher.connect_sync())

# %% What is there to run?
for each in relay.registry():
    print(each["name"], each["signature"])

# %% Run something, and have the result.
print(relay.submit("tasks.add", 20, 22).result(timeout=30))

# %% See how far it is.
for event in relay.submit("tasks.count_primes", limit=20_000_000):
    print(event.state, event.meta or "")

# %% Many at a time, the results in order.
squares = list(relay.starmap("tasks.add", [(number, number) for number in range(20)], limit=10))
print(squares)

# %% What fails raises, with what the worker said.
try:
    relay.submit("tasks.fail", "no such customer").result(timeout=30)
except watcher.TaskFailed as failed:
    print(failed.type, failed.message)

# %% At the end.
notebook.close()
