"""What each command of the agent does."""
