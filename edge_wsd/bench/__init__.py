"""How fast a pair is: what is measured, the measurement, peers beside it, the table and the plot."""
