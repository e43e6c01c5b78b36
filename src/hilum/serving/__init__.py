"""Predictions without PyTorch: the model file, the predictor, and what the command line shows of them."""
