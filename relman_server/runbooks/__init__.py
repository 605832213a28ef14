"""Runbooks: what to do when something goes wrong, and finding it."""
