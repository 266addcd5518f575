"""What is measured of every document: columns beside the documents, never a change of them."""
