"""What a study found, as data: figures, repeats, sizes, the point to take, the time left."""
