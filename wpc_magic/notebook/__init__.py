"""The pool in a notebook: output in the cell that it belongs to, short tracebacks, shutdown."""
