"""What is in an archive, and what may leave it: layout, manifests, segments read, chains, retention, verification."""
