"""Ownership of places: owners and leases."""
