"""The stages of Sightline, one folder each, over `tasks` (learning problems) and `core` (the ground floor)."""
