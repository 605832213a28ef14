"""Logs: what pipelines print, while they print it."""
