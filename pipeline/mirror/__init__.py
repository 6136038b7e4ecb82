"""The home's copy in an object store: what another machine goes on from."""
