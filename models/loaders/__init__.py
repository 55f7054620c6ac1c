"""Public models, each family from the files it is published in. `registry.load` finds the family."""
