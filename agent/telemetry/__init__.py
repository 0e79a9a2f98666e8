"""What the agent counts, and how others get to see it."""
