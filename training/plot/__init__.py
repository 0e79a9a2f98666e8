"""Pictures of what a model sees in lines."""
