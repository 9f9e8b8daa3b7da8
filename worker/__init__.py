"""The Faust app: consume clicks, step the hidden states in batches, publish the top-20, swap the model."""
