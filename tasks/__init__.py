"""How hard to try: thin Prefect tasks over `perennial`, with policies, artifacts and events in one place each."""
