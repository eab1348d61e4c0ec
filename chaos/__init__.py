"""Proofs of reliability: kills, full disks, fuzzed files. ``make chaos``; docs/reliability.md has the counts."""
