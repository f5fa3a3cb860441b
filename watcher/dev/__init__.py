"""What `watcher up` starts for development: a Valkey server, a worker, and the plan for both."""
