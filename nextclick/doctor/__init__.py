"""`nextclick doctor`: checks a deployment before a worker does, without changing anything in it."""
