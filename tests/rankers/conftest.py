import torch

torch.set_num_threads(1)  # two threads on a busy core wait for each other
