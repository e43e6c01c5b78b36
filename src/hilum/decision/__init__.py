"""What evaluation and serving share: the triage decision and the out-of-distribution score. NumPy only."""
