"""The journal in Redis: its keys, scripts and entries, and the connections that reach it."""
