"""The catalog: the records as they stand on the volume, and what is known of their copies elsewhere."""
