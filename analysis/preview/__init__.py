"""What a configuration would do on a recorded history."""
