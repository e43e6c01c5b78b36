"""``python -m hilum``: the same as the ``hilum`` command."""

from hilum.cli.app import main

if __name__ == "__main__":
    main()
