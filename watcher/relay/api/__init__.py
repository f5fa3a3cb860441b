"""What clients ask for and are answered, as types: the same over WebSocket and HTTP. No I/O."""
