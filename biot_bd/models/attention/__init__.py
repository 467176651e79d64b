"""Recording of attention as the model computes it, and maps over tokens."""
