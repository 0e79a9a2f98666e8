"""Where lines come from: files that grow, whole files and standard input, each cut into blocks of complete lines."""
