"""The settings: one YAML file and the environment, checked as a whole. They contain no secrets.

`model` defines the keys, `load` reads them, `faults` describes what is wrong, `reload` reads a changed file again.
"""
