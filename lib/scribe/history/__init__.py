"""What is in an archive: changes of rows and of the schema, read back out of its segments."""
