"""Audio as files, bytes and arrays: finding it and reading it."""
