"""Finding molecules in a prepared frame."""
