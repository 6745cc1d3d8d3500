"""Parts of a graph for a step: neighbours, ego graphs, clusters, walks, blocks of rows."""
