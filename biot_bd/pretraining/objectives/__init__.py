"""The objectives that the package brings, one a file."""
