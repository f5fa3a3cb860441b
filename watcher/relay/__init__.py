"""The relay: from the journal to its clients. docs/architecture.md names its parts, from the pure core to the edges."""
