"""What survives a restart: positions, streams, counts and undelivered alerts, in one SQLite database."""
