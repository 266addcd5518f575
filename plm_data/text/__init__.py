"""Text as the rules see it: normalised, segmented into words, hashed."""
