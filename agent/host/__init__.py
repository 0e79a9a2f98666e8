"""What the operating system offers the agent: replacing files, the log, limits, the service manager."""
