"""The renderer: functions that return the Kubernetes objects of a cluster, from one spec.

`spec` defines the keys of a spec, `reading` checks them, `manifests` collects the objects. This package reads no files
and asks no API server, and the agent does not import it.
"""
