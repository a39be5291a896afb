"""Studies as a tracking server shows them: projections of the folder, which is the truth."""
