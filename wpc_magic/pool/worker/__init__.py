"""The worker process. It imports nothing of the core, and as little as it can: start-up time counts."""
