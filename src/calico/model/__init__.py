"""What users say, as immutable values, and the errors about it."""
