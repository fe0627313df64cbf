"""The sans-I/O core: inputs are what happened and when; outputs are effects for the driver."""
