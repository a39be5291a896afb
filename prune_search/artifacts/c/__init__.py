"""Target c: C99 for machines from microcontrollers up, and how it is compiled, measured and run."""
