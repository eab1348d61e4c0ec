"""What a careful person would look at in a prepared dataset; `densecf.data.check` runs all of it."""
