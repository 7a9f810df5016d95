"""`python -m longtail`, the same as the command `longtail`, as torchrun starts it."""

from longtail.cli import main

main()
