"""The magics of IPython over one pool: parsing, the work, the shell, completion."""
