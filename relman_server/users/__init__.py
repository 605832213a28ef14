"""Users: who calls."""
