"""Deploy policies: when nothing may be deployed."""
