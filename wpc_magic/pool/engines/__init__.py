"""Where slots may live: on this machine, or on those of a cluster."""
