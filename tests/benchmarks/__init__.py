"""The benchmark: every contestant in the same run, in turns. ``make bench`` runs it.

::

    __main__  arguments, order, files            report   JSON, Markdown, plot
       │                                            ^
       v                                            │
    bench     opens, takes turns, keeps ────────> results ──> targets   the issue's table, with verdicts
       │
       v  one host process for each contestant (hosts)
    contestants/*  the pools, behind one small interface
    measures/*     what is timed, inside the host; `work` has the functions that workers run
"""
