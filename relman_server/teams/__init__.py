"""Teams: people who own services together."""
