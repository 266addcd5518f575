"""Why: the story of a document, samples at a rule's threshold, near duplicates of a text, in a built corpus."""
