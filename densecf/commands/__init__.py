"""What each command does, from its options to its product. `densecf.cli` parses, the rooms below do the work."""
