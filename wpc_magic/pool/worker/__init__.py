"""The child process. Imports nothing of the mind, and as little as it can: start-up counts."""
