"""What a user can set: one TOML file per pipeline, as typed tables."""
