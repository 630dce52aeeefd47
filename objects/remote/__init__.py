"""Remotes: places in a file system or an object store that commits are pushed to and fetched from."""
