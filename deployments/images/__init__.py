"""What is put into the images, and what their containers start with; each file stands on the standard library alone."""
