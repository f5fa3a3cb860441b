"""Limits of clients: how many, how fast, how long, and in which order."""
