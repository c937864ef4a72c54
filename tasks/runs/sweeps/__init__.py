"""Records of sweeps and searches."""
