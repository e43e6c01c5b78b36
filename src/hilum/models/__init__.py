"""Networks by name. Each maps images (B, 1, H, W) in [-1, 1] to log-probabilities (B, K)."""
