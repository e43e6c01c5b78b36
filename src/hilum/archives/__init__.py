"""Archives: more images than one call should answer about at once, from folders, lists and object stores."""
