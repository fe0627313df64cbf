"""What the pool and a worker send each other, and how: messages, frames, pickles and shared memory."""
