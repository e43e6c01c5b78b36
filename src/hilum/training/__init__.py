"""From decoded images and a recipe to a run."""
