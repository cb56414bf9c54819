"""Image search as a source: queries gather pictures, and the query that found a picture is its only label."""
