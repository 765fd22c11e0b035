"""What the subcommands of `locheads` do; `locheads.cli` puts them together."""
