"""Reading a function's source: what it needs, what it lacks, and what to type then."""
