"""`python -m unflux`."""

from unflux.cli import main

if __name__ == "__main__":
    main()
