"""An experiment as plain data, its description as text, and the hash that identifies it."""
