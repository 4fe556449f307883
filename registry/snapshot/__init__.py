"""What the registry remembers across a restart."""
