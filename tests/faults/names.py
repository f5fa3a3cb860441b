"""What the tasks leave in the broker's database, for a test to read."""

from __future__ import annotations

#: List: how long each task held its process beyond what it did itself, in seconds.
MEASURED = "measured"
#: Hash: task id → how often it was run.
RUNS = "runs"
#: Of the shop: queues with a worker, parts of its chord, and tasks in the queue that no worker consumes.
SHOP_QUEUES = ("orders", "mail", "media", "reports")
PARTS, LEGACY = 200, 92
