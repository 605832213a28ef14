"""Catalog: the services there are."""
