"""Training of blends: network and neighbours of the older sessions, the weight fitted on the newest, then all anew."""
