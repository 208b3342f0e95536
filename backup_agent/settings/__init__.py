"""The settings: one YAML file, the environment over it, every fault at once."""
