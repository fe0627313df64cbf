"""What travels between the pool and a worker, and how."""
