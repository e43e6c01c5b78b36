"""Measurements of hilum beside what else one would use: ``make bench``, ``make bench-quick``."""
