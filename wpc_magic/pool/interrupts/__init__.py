"""SIGINT held back while shared state is being changed, and locks that an interrupt cannot leave locked."""
