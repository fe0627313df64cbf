"""What the driver is made of: reading, sending, waiting, watching, for one pool."""
