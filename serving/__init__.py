"""The online service: answers requests with the released version, and follows the journal to the next."""
