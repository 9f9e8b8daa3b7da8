"""Three ways to train a network to the same result: autograd, a compiled kernel, CUDA graphs."""
