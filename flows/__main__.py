"""`python -m flows` is `relevo`."""

from flows.launcher import main

if __name__ == "__main__":
    main()
