"""An archive in an object store: sending it there, encrypted or not, and reading it from there."""
