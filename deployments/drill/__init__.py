"""Rehearsing what goes wrong: real requests, and a model that no gate could refuse, in a copy of the storage."""
