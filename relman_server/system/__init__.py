"""The server itself: its health and what it is."""
