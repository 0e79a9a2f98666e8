"""The training itself: one command from logs to a run folder, stage by stage, with checkpoints."""
