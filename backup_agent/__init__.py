"""Backs up a whole Neo4j Enterprise cluster from one small pod."""

__version__ = "0.1.0"
