"""Delivery of alerts: from the outbox to the sinks."""
