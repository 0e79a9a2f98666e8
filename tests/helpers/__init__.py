"""What several tests share and is no fixture."""
