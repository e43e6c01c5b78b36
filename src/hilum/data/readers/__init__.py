"""How a `Dataset` is read, whichever way a dataset is laid out: one file a layout."""
