"""What output plugins write, as the SQL of a segment: the interface, and one module or package for each decoder."""
