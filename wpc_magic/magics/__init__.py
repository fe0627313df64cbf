"""The IPython magics of one pool: parsing, implementation, installation in the shell, completion."""
