"""The report of a comparison: tables, figures, pictures, and one page with all of them."""
