"""Bytes for codes and their places: the coders, and the bound that they stand against."""
