"""The cluster as Bolt shows it: which databases exist, and which servers may serve each backup."""
