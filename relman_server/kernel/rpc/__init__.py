"""The edge: everything between the socket and a servicer's method."""
