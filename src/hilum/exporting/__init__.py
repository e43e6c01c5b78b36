"""From a run to a model file. No package above the export imports PyTorch."""
