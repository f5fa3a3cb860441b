"""From the journal to those who watch: feed, history, hub and fan-out."""
