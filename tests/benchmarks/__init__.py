"""The benchmark: all contestants are measured in the same run, in interleaved turns. Run by ``make bench``.

::

    __main__  arguments, order, files            report   JSON, Markdown, plot
       │                                            ^
       v                                            │
    bench     opens pools, takes turns ─────────> results ──> targets   the table of targets, with verdicts
       │
       v  one host process for each contestant (hosts)
    contestants/*  the pools, behind a common interface
    measures/*     the timed code, inside the host; `work` has the functions that workers run
"""
