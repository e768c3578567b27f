"""What is always true of the stored data, and the search for rows of which it is not."""
