"""Analytics: how well delivery goes."""
