"""A run as one file that others can check: made, verified, compared, merged from shards."""
