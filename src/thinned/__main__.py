"""`python -m thinned`: the program `thinned`, as `torchrun -m` starts it."""

from thinned_cli import main

if __name__ == "__main__":
    main()
