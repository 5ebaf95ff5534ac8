"""What makes the bundled models and the tables of the documentation."""
