"""Make, train, export and describe the two networks of the road; torch lives only here."""
