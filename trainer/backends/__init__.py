"""Three training backends with the same result: autograd, a compiled CPU kernel, CUDA graphs."""
