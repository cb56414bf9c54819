"""The learning problems. Stages call them; they call only `core`."""
