"""What a build rests on, written down; and builds checked against it, against their own checksums, and each other."""
