"""From what a user hands over (a cell's source, or a function object) to drafts of definitions.

`draft` makes the drafts. `text`, `objects` and `metadata` inspect function objects; `syntax`, `bindings`,
`names` and `cell` analyse source, without running it: which names a function needs. `missing` says what to
type for a name that the workers do not have.
"""
