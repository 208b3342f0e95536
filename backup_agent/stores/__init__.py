"""Stores of artifacts: one interface, and a module for each store. Stores do not import each other."""
