"""The journal of systemd as a source of lines."""
