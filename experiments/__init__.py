"""Runs behind the bundled models, the demonstration, and the tables of the documentation."""
