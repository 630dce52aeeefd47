"""`python -m piecrust`: the command line."""

from piecrust.cli.app import main

if __name__ == "__main__":
    main()
