"""What a recipe's run takes, told before any work and without network."""
