"""The companion that renders: from one spec of a cluster to its Kubernetes objects, as values.

`spec` says what may stand in the spec, `reading` checks it, `manifests` puts the objects together. Nothing here reads
a file, asks an API server, or is imported by the agent.
"""
