"""Who may come in, and as whom: hosts, origins, proxies, people, tokens' ends, TLS."""
