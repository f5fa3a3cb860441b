"""The terminal: streams as they may be, lines, bars and the live view."""
