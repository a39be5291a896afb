"""A study's report as one HTML file, which holds its data and opens anywhere."""
