"""Audit: who did what, sealed so that nobody can change it unseen. Rows are written by the kernel."""
