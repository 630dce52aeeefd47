"""piecrust: a git-style, content-addressed state store with a WebAssembly contract VM in front."""
