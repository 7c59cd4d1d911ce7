"""The clients, each with what it can do: a method for each operation, which tells in one line what the user sees."""
