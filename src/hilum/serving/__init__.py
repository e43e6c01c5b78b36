"""What answers about radiographs without PyTorch: the bundle, the predictor, what the command line shows of it."""
