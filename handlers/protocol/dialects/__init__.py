"""The forms in which a tower is called, one module each."""
