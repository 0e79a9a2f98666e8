"""The running agent: its one loop, what the loop does with each block, and the checks before it starts."""
