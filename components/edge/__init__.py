"""The edge bundle: a champion for devices at the cameras, and the receiver of what they see."""
