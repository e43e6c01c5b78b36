"""Statistics in NumPy and SciPy: measures, intervals, tests. They know no run and no file."""
