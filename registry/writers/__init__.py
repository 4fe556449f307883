"""What the registry writes into member clusters."""
