"""Log files that are followed as they grow: through rotation, truncation, compression and removal."""
