"""Where things are: the `Environment` block and the documents it is made from."""
