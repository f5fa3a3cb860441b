"""Access control: hosts, origins, proxies, users, token expiry, TLS."""
