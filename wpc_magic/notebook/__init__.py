"""What a notebook shows of the pool: text in the cell that it belongs to."""
