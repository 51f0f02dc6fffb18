"""Objects that a network finds one by one, as regions of a scene."""
