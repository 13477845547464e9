"""One module for each program in bin/, each with main(argv) -> exit status."""
