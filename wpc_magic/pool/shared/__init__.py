"""Memory that all processes of a pool read and write: arrays, counters, queues, and the lock of each."""
