"""What several parts of the relay use: figures, logs, outages, files that are followed."""
