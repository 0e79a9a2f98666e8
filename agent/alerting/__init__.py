"""Which anomalies become alerts, and what an alert says."""
