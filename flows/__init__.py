"""What runs when and where: Prefect over DVC. Knows stages by name only and imports none."""
