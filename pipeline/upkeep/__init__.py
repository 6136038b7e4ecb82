"""What runs without a person: automatic materialisation, its sensors, and recovery after a crash."""
