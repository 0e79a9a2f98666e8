"""From the outbox of alerts to the world."""
