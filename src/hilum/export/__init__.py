"""From a run to a bundle: the last room that imports PyTorch."""
