"""StreamSynth: does synthesis get better along a stream? Arms x streams x orders x seeds, at equal token budgets.

Every cell of the grid is an ordinary home, so its log proves what happened, and all figures are read from it.
"""
