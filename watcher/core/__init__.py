"""Plain data and plain decisions, which everything else may import: events, errors, settings, permissions. No I/O."""
