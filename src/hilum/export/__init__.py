"""From a run to a model file: the last room that imports PyTorch."""
