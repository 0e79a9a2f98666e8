"""Configurations of trainings that are kept with the code: that of the bundle inside the agent."""
