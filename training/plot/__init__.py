"""Pictures of scores, of a training, and of what a model makes of lines."""
