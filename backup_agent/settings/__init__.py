"""The settings: one YAML file and the environment, checked as a whole, never holding a secret.

`model` says what may stand there, `load` reads it, `faults` says what is wrong with it, `reload` reads it again.
"""
