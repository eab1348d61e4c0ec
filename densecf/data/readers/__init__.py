"""Readers: from the tables that datasets come with to a `densecf.data.sources.Source`."""
