"""What gRPC can do in Python when nothing is behind it: an echo, and streams that pass bytes through."""
