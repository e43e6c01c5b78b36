"""Images that show one picture: candidates by their codes, then both laid over each other."""
