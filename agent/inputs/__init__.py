"""Which sources are open: what a configuration names, files that patterns find, and logs that were renamed."""
