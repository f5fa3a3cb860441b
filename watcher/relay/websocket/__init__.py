"""One WebSocket client: handshake, connection, session, subscriptions, calls."""
