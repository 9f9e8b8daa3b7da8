"""Training on a GPU: steps of one shape, recorded as CUDA graphs, and replayed without waiting for any of them.

A step of a small network is some hundreds of short operations, and launching them one by one costs more than their
work. A graph launches a block of steps at once. For that nothing may depend on what only the host knows:

    backend   the step of `trainer.backends.reference` with B lanes always; those without a session are masked
    sampler   negative samples, drawn on the device
    replay    recording and replaying; without a GPU the steps simply run, which is how they are tested

It trains the same as `trainer.backends.reference`, on the same schedule and the same negatives, but for the order of
sums.
"""
