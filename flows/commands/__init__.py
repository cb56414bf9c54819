"""The commands of `sightline`, by what they are about: running, services, data, models."""
