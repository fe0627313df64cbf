"""Maps: many items of one function, sent in chunks, and delivered in order or as they come.

`mapping` has the methods of a pool, `results` what they return. `chunks` sends and receives the calls of a
map; the others are what it asks: the request, the items, how many go in a chunk, what has arrived, what
failed and is tried again.
"""
