"""A pool as a `concurrent.futures.Executor`.

`executor` has the class; its futures, values, process and set-up are modules of their own.
"""
