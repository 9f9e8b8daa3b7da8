"""What the columns of a file of clicks mean, however the file was written: quotes, encodings, ids, times, rows."""
