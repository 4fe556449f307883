"""What the registry believes: per-cluster facts, joined into services, merged over clusters. No IO."""
