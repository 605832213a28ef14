"""Releases: what can be deployed."""
