"""A codec for rkyv 0.7 archives as `piecrust-uplink` writes them. `piecrust.rkyv` is its public name."""
