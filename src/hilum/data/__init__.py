"""From files to a table, splits, and decoded images."""
