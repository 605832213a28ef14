"""Rollbacks: undoing deployments."""
