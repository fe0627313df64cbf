"""The contract suite; a package, so that its clusters end with its last test."""
