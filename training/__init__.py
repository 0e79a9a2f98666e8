"""Training of oddline's models in PyTorch: logs in, a run folder out."""
