"""A soak test: random concurrent load and faults for a given time, with a ledger. See `__main__`.

================  ===================================================================
module            contents
================  ===================================================================
``work``          the functions that workers run
``ledger``        what happened during each call, and whether its outcome is allowed
``actors``        callers, definers, fault injectors: threads with their own random source
``disturbances``  handlers of signals, recursion, forks and finalizers around the pool
``resources``     usage by the process and its workers: memory, descriptors, threads
``soak``          the test: warm-up, first measurement, load, second measurement
================  ===================================================================
"""
