"""A soak: everything at once, at random and for as long as one likes, with a ledger. See `__main__`.

=============  ======================================================================
module         what it holds
=============  ======================================================================
``work``       the functions that workers run
``ledger``     what was done to each call, and whether it has ended as it may
``actors``     who calls, defines, and disturbs: each a thread with dice of its own
``picture``    what the process and its workers hold: memory, descriptors, threads
``soak``       the whole: warm-up, a picture, the time, another picture
=============  ======================================================================
"""
