"""The model on disk: its manifest, its graphs and what else the agent must know of it."""
