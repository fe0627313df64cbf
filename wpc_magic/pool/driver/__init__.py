"""The I/O of one pool: processes, channels, polling, output, and waiting callers."""
