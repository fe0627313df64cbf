"""Decisions, pure: what happened and when goes in, what to do comes out."""
