"""``python -m nnmpi`` is the command ``nnmpi``."""

from nnmpi.cli import main

if __name__ == "__main__":
    main()
