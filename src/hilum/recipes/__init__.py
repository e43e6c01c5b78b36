"""Recipes that come with hilum, as TOML files."""
