"""Training over time: window after window of the logs."""
