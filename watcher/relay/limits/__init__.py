"""What a client may take of a relay: how many, how fast, how long, and who is next."""
