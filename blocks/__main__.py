"""`python -m blocks` saves every environment document as a block of the configured Prefect server."""

from blocks.documents import environment_names
from blocks.environment import save_environment

if __name__ == "__main__":
    for name in environment_names():
        save_environment(name)
        print(f"Saved the block `perennial-environment/{name}`.")
