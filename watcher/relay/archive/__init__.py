"""The relay's side of the catalogue: it follows the history beside the event loop, and answers questions in threads."""
