"""From an event to the journal, without holding up a task: outbox, its thread, and its connection."""
