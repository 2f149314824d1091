"""One module per `mt3x` subcommand."""
