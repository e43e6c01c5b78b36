"""Fingerprints of well-known public radiograph sets: what they are, how they are made, and the files themselves."""
