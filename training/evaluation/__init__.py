"""How good a model is: its scores held against labels, beside those of simple detectors."""
