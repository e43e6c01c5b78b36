"""What answers about radiographs without PyTorch: the model file, the predictor, what the command line shows of it."""
