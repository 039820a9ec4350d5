"""`lamplighter cost`: what endpoints cost, as a table and a chart; bills beside that; charging anew."""
