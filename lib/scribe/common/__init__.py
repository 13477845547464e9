"""What every part uses: errors, files, positions, processes, settings, connections, the command line, the dialect."""
