"""Training on a GPU: steps of one shape, recorded as CUDA graphs, and replayed without waiting for their results.

A step of a small network is some hundreds of short operations, and launching them one by one takes longer than running
them. A graph launches a block of steps at once. Therefore a step must not depend on values that only the host has:

    backend   the step of `trainer.backends.reference`, always with B lanes; lanes without a session are masked
    sampler   negative samples, drawn on the device
    replay    recording and replaying; without a GPU the steps run directly, which is how they are tested

The result is that of `trainer.backends.reference`, with the same schedule and the same negatives, except for the order
of sums.
"""
