"""The types of a pool's functions as a stub, for type checkers and editors: pure text from their sources.

`stub` writes it. `functions` has the class of each function, `names` and `classes` what its annotations
refer to.
"""
