"""The HTTP API, server-sent events, metrics and the page's files."""
