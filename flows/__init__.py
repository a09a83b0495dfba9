"""In what order: `pipeline` is the whole story, one file per stage tells a part of it."""
