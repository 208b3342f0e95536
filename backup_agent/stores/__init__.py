"""Where artifacts stand: one interface, a module a store. Stores do not know each other."""
