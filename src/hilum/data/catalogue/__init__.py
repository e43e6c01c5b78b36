"""What is known about public datasets of chest radiographs."""
