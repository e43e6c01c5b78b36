"""The report: one self-contained page with the figures of a training run."""
