"""The commands, one module a group. Each is a function from a `typer.Context` and its arguments to an `Outcome`."""
