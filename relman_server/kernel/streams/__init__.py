"""Following what happens: wake-ups that carry no data, and readers that resume by cursor."""
