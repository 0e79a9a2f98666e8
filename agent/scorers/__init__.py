"""Scorers: from windows of text ids to scores, one module for each kind of model."""
