"""The mixture report: facts as JSON, one HTML page for people, a table for the terminal."""
