"""Finding restore points at the places, and the facts of their plans."""
